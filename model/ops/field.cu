// The residual field at canonical points, and its way back: see residual_field.py, whose plain code says the same.

// decoder, one after the other: w1 [HIDDEN,CHANNELS]; w2 transposed, of the colours [HIDDEN,COLORS] and of the value
// [HIDDEN]; b1 [HIDDEN]; b2, of the colours [COLORS] and of the value [1].
#define DECODER_SIZE (HIDDEN * (CHANNELS + COLORS + 2) + COLORS + 1)

// The value of features f; with `shown` the colours' numbers `out` before their sigmoid, with `sloped` the value's derivative u by f.
DEVICE float decode(const float* net, const float* f, bool shown, float* out, bool sloped, float* u)
{
    const float *w1 = net, *w_color = w1 + HIDDEN * CHANNELS, *w_value = w_color + HIDDEN * COLORS;
    const float *b1 = w_value + HIDDEN, *b2 = b1 + HIDDEN;
    float value = b2[COLORS];
    UNROLL for (int k = 0; k < COLORS; ++k) out[k] = b2[k];
    UNROLL for (int c = 0; c < CHANNELS; ++c) u[c] = 0.f;
    for (int j = 0; j < HIDDEN; ++j) {
        const float *row = w1 + j * CHANNELS, *column = w_color + j * COLORS;
        float h = b1[j];
        UNROLL for (int c = 0; c < CHANNELS; ++c) h += row[c] * f[c];
        float a, share;
        softplus_sigmoid(h, &a, &share);
        value += w_value[j] * a;
        if (shown) { UNROLL for (int k = 0; k < COLORS; ++k) out[k] += column[k] * a; }
        if (sloped) {
            const float t = share * w_value[j];
            UNROLL for (int c = 0; c < CHANNELS; ++c) u[c] += t * row[c];
        }
    }
    return value;
}

// The value's derivative by the point, from that by the features.
DEVICE void slope_of(float* along, const float* u, const Look& l, const float* rows, int side)
{
    UNROLL for (int a = 0; a < 3; ++a) along[a] = 0.f;
    UNROLL for (int plane = 0; plane < 3; ++plane)
        UNROLL for (int k = 0; k < 4; ++k) {
            const float4* row = (const float4*)(rows + (long)texel_row(l, plane, k, side) * CHANNELS);
            float dot = 0.f;
            UNROLL for (int c = 0; c < CHANNELS / 4; ++c) {
                const float4 v = row[c];
                dot += v.x * u[4 * c] + v.y * u[4 * c + 1] + v.z * u[4 * c + 2] + v.w * u[4 * c + 3];
            }
            along[U_AXIS(plane)] += texel_along_u(l, plane, k, side) * dot;
            along[V_AXIS(plane)] += texel_along_v(l, plane, k, side) * dot;
        }
}

// points: [n,3] over the planes, in [-1,1]; image: [n]; value: [n]; color: [n,COLORS] or null; slope: [n,3] or null.
KERNEL3 field_forward(int n, const float* points, const long* image, const float* rows, int side, const float* decoder,
                     float margin, float* value, float* color, float* slope)
{
    STAGE(net, decoder, DECODER_SIZE);
    const long item = ITEM;
    if (item >= n) return;
    const float p[3] = {points[3 * item], points[3 * item + 1], points[3 * item + 2]};
    const Look l = look(p, 1.f, (int)image[item], side);
    float f[CHANNELS], out[COLORS], u[CHANNELS];
    gather(f, l, rows, side);
    value[item] = decode(net, f, color != nullptr, out, slope != nullptr, u);
    if (color) {
        UNROLL for (int k = 0; k < COLORS; ++k)
            color[item * COLORS + k] = sigmoid(out[k]) * (1.f + 2.f * margin) - margin;
    }
    if (slope) {
        float along[3];
        slope_of(along, u, l, rows, side);
        UNROLL for (int a = 0; a < 3; ++a) slope[3 * item + a] = along[a];
    }
}

// Back from by_value [n], by_color [n,COLORS] and by_slope [n,3] (null: nothing comes from there). Adds to d_rows (null: not
// wanted), and writes what the decoder's gradients are matrix products of, each transposed: features [CHANNELS,n],
// activations [HIDDEN,n], d_out [1+COLORS,n], d_hidden [HIDDEN,n], and with a slope q [CHANNELS,n], t [HIDDEN,n],
// d_last [HIDDEN,n] (to be summed: into w2's first row).
KERNEL field_backward(int n, const float* points, const long* image, const float* rows, int side, const float* decoder,
                      float margin, const float* color, const float* by_value, const float* by_color,
                      const float* by_slope, float* d_rows, float* features, float* activations, float* d_out_all,
                      float* d_hidden, float* q_all, float* t_all, float* d_last)
{
    STAGE(net, decoder, DECODER_SIZE);
    const long item = ITEM;
    if (item >= n) return;
    const float *w1 = net, *w_color = w1 + HIDDEN * CHANNELS, *w_value = w_color + HIDDEN * COLORS;
    const float* b1 = w_value + HIDDEN;
    const float p[3] = {points[3 * item], points[3 * item + 1], points[3 * item + 2]};
    const Look l = look(p, 1.f, (int)image[item], side);
    float f[CHANNELS], q[CHANNELS], d_out[1 + COLORS], d_f[CHANNELS], e[CHANNELS], way[3] = {0.f, 0.f, 0.f};
    if (by_slope) { UNROLL for (int a = 0; a < 3; ++a) way[a] = by_slope[3 * item + a]; }
    UNROLL for (int c = 0; c < CHANNELS; ++c) f[c] = q[c] = d_f[c] = e[c] = 0.f;
    UNROLL for (int plane = 0; plane < 3; ++plane)
        UNROLL for (int k = 0; k < 4; ++k) {
            const float4* row = (const float4*)(rows + (long)texel_row(l, plane, k, side) * CHANNELS);
            const float share = texel_share(l, plane, k);
            const float turn = texel_along_u(l, plane, k, side) * way[U_AXIS(plane)]
                             + texel_along_v(l, plane, k, side) * way[V_AXIS(plane)];
            UNROLL for (int c = 0; c < CHANNELS / 4; ++c) {
                const float4 v = row[c];
                f[4 * c] += share * v.x; f[4 * c + 1] += share * v.y;
                f[4 * c + 2] += share * v.z; f[4 * c + 3] += share * v.w;
                q[4 * c] += turn * v.x; q[4 * c + 1] += turn * v.y;
                q[4 * c + 2] += turn * v.z; q[4 * c + 3] += turn * v.w;
            }
        }
    d_out[0] = by_value ? by_value[item] : 0.f;
    UNROLL for (int k = 0; k < COLORS; ++k) {
        d_out[1 + k] = 0.f;
        if (by_color) {
            const float shine = (color[item * COLORS + k] + margin) / (1.f + 2.f * margin);
            d_out[1 + k] = by_color[item * COLORS + k] * (1.f + 2.f * margin) * shine * (1.f - shine);
        }
    }
    UNROLL for (int c = 0; c < CHANNELS; ++c) features[(long)c * n + item] = f[c];
    UNROLL for (int k = 0; k < 1 + COLORS; ++k) d_out_all[(long)k * n + item] = d_out[k];
    if (by_slope) { UNROLL for (int c = 0; c < CHANNELS; ++c) q_all[(long)c * n + item] = q[c]; }
    for (int j = 0; j < HIDDEN; ++j) {
        const float *row = w1 + j * CHANNELS, *column = w_color + j * COLORS;
        float h = b1[j], d_a = w_value[j] * d_out[0];
        UNROLL for (int c = 0; c < CHANNELS; ++c) h += row[c] * f[c];
        UNROLL for (int k = 0; k < COLORS; ++k) d_a += column[k] * d_out[1 + k];
        float a, s;
        softplus_sigmoid(h, &a, &s);
        float d_h = d_a * s;
        activations[(long)j * n + item] = a;
        if (by_slope) {
            float d_t = 0.f;
            UNROLL for (int c = 0; c < CHANNELS; ++c) d_t += row[c] * q[c];
            const float t = s * w_value[j];
            d_h += d_t * t * (1.f - s);
            t_all[(long)j * n + item] = t;
            d_last[(long)j * n + item] = d_t * s;
            UNROLL for (int c = 0; c < CHANNELS; ++c) e[c] += t * row[c];
        }
        d_hidden[(long)j * n + item] = d_h;
        UNROLL for (int c = 0; c < CHANNELS; ++c) d_f[c] += d_h * row[c];
    }
    if (d_rows == nullptr) return;
    UNROLL for (int plane = 0; plane < 3; ++plane)
        UNROLL for (int k = 0; k < 4; ++k) {
            float* row = d_rows + (long)texel_row(l, plane, k, side) * CHANNELS;
            const float share = texel_share(l, plane, k);
            const float turn = texel_along_u(l, plane, k, side) * way[U_AXIS(plane)]
                             + texel_along_v(l, plane, k, side) * way[V_AXIS(plane)];
            UNROLL for (int c = 0; c < CHANNELS / 4; ++c)
                add_four(row + 4 * c, share * d_f[4 * c] + turn * e[4 * c], share * d_f[4 * c + 1] + turn * e[4 * c + 1],
                         share * d_f[4 * c + 2] + turn * e[4 * c + 2], share * d_f[4 * c + 3] + turn * e[4 * c + 3]);
        }
}

// Colours and normals of the samples that are seen, added up along their rays: see residual_field.py, `shade`.
// chosen: the first `count` name samples of rays, ray · (first + second) + sample; share: the weight of each.
// roots: canonical, of the first pass [rays·first,3] and the second [rays·second,3]. tables: the images' blended transforms;
// cam2world: [images,4,4] or null. sums: [rays,COLORS+3], whole numbers, so that their order does not matter: `unit` is one.
KERNEL3 shade(const int* count, const long* chosen, const float* share, int first, int second,
             const float* first_roots, const float* second_roots, int per_image, const float* rows, int side,
             float to_planes, const float* decoder, float margin, float slope_scale, int dw, int dh, int dd,
             const float* distance, int w, int h, int d, const float* tables, const float* box, int covariant,
             const float* cam2world, float unit, int* sums)
{
    if (BLOCK_BEGINS >= *count) return;
    STAGE(net, decoder, DECODER_SIZE);
    const long item = ITEM;
    if (item >= *count) return;
    const long ray = chosen[item] / (first + second);
    const int sample = (int)(chosen[item] % (first + second)), image = (int)(ray / per_image);
    const float* at = sample < first ? first_roots + 3 * (ray * first + sample) : second_roots + 3 * (ray * second + sample - first);
    const float p[3] = {at[0], at[1], at[2]};
    const float weight = share[item] * unit;
    int* sum = sums + ray * (COLORS + 3);
    const Look l = look(p, to_planes, image, side);
    float f[CHANNELS], out[COLORS], u[CHANNELS];
    gather(f, l, rows, side);
    decode(net, f, true, out, true, u);
    UNROLL for (int k = 0; k < COLORS; ++k)
        add_whole(sum + k, (int)rintf(weight * (sigmoid(out[k]) * (1.f + 2.f * margin) - margin)));
    float along[3], gradient[3], m[12], carry[9], normal[3];
    slope_of(along, u, l, rows, side);
    distance_and_gradient(gradient, p, distance, box, dw, dh, dd);
    UNROLL for (int a = 0; a < 3; ++a) gradient[a] += along[a] * slope_scale;
    blend(m, p, tables + (long)image * w * h * d * 12, box, w, h, d);
    carrier(carry, m, covariant);
    UNROLL for (int r = 0; r < 3; ++r)
        normal[r] = carry[3 * r] * gradient[0] + carry[3 * r + 1] * gradient[1] + carry[3 * r + 2] * gradient[2];
    if (cam2world) {
        const float* turn = cam2world + 16 * image;
        UNROLL for (int c = 0; c < 3; ++c)
            gradient[c] = turn[c] * normal[0] + turn[4 + c] * normal[1] + turn[8 + c] * normal[2];
        UNROLL for (int c = 0; c < 3; ++c) normal[c] = gradient[c];
    }
    normal[0] = -normal[0];
    const float length = fmaxf(sqrtf(normal[0] * normal[0] + normal[1] * normal[1] + normal[2] * normal[2]), 1e-12f);
    UNROLL for (int c = 0; c < 3; ++c) add_whole(sum + COLORS + c, (int)rintf(weight * normal[c] / length));
}
