// The way back through the sums along rays of composite.py. CHANNELS numbers a sample.

// What reaches values [n,CHANNELS] and shares [n] of samples that were summed, weighted, into their rays: from gradient
// [rays,CHANNELS]. ray: [n].
KERNEL spread(long n, const float* gradient, const long* ray, const float* values, const float* share, float* by_value,
              float* by_share)
{
    const long item = ITEM;
    if (item >= n) return;
    const float weight = share[item];
    float sum = 0.f;
#if CHANNELS % 4 == 0
    const float4* outer = (const float4*)(gradient + ray[item] * CHANNELS);
    const float4* value = (const float4*)(values + item * CHANNELS);
    float4* into = (float4*)(by_value + item * CHANNELS);
    UNROLL for (int c = 0; c < CHANNELS / 4; ++c) {
        const float4 o = outer[c], v = value[c];
        sum += o.x * v.x + o.y * v.y + o.z * v.z + o.w * v.w;
        into[c] = {o.x * weight, o.y * weight, o.z * weight, o.w * weight};
    }
#else
    const float *outer = gradient + ray[item] * CHANNELS, *value = values + item * CHANNELS;
    UNROLL for (int c = 0; c < CHANNELS; ++c) {
        sum += outer[c] * value[c];
        by_value[item * CHANNELS + c] = outer[c] * weight;
    }
#endif
    by_share[item] = sum;
}
