// The second pass's samples along rays, and where all samples stand when sorted: rendering/rays.py and marcher.py in one
// go, without gradient. FIRST and SECOND samples a ray.

// coarse: [n,FIRST] ascending; density: [n,FIRST]; uniform: [n,SECOND] in [0,1), or null for the strata's middles.
// fine: [n,SECOND]; depths: [n,FIRST+SECOND] sorted; rank: [n,FIRST+SECOND], the place there of the coarse, then the fine ones.
KERNEL resample(int n, const float* coarse, const float* density, const float* uniform, float* fine, float* depths,
                int* rank)
{
    const long item = ITEM;
    if (item >= n) return;
    const float *z = coarse + item * FIRST, *s = density + item * FIRST;
    float seen[FIRST - 1];
    float light = 1.f;
    for (int k = 0; k < FIRST - 1; ++k) {
        const float alpha = 1.f - expf(-(s[k] + s[k + 1]) * 0.5f * (z[k + 1] - z[k]));
        seen[k] = alpha * light;
        light *= 1.f - alpha + 1e-10f;
    }
    float cdf[FIRST - 2];  // of the inner intervals: the maximum of neighbours, then their mean, lifted by 0.01
    float sum = 0.f;
    cdf[0] = 0.f;
    for (int k = 1; k < FIRST - 2; ++k) {
        const float left = fmaxf(seen[k - 1], seen[k]), right = fmaxf(seen[k], seen[k + 1]);
        sum += (left + right) * 0.5f + 0.01f + 1e-5f;
        cdf[k] = sum;
    }
    float own[SECOND];
    for (int j = 0; j < SECOND; ++j) {
        const float u = uniform ? uniform[item * SECOND + j] : ((float)j + 0.5f) / (float)SECOND;
        int low = 0, high = FIRST - 2;  // the first place whose share is above u
        while (low < high) {
            const int middle = (low + high) / 2;
            if (cdf[middle] / sum > u) high = middle; else low = middle + 1;
        }
        const int below = low > 0 ? low - 1 : 0, above = low < FIRST - 3 ? low : FIRST - 3;
        float span = (cdf[above] - cdf[below]) / sum;
        if (span < 1e-5f) span = 1.f;
        const float first = 0.5f * (z[below] + z[below + 1]), second = 0.5f * (z[above] + z[above + 1]);
        own[j] = first + (u - cdf[below] / sum) / span * (second - first);
        fine[item * SECOND + j] = own[j];
    }
    float* sorted = depths + item * (FIRST + SECOND);
    int* place = rank + item * (FIRST + SECOND);
    for (int k = 0; k < FIRST; ++k) {
        int r = k;
        for (int j = 0; j < SECOND; ++j) r += own[j] < z[k];
        sorted[r] = z[k];
        place[k] = r;
    }
    for (int j = 0; j < SECOND; ++j) {
        int r = 0;
        for (int k = 0; k < FIRST; ++k) r += z[k] <= own[j];
        for (int i = 0; i < SECOND; ++i) r += own[i] < own[j] || (own[i] == own[j] && i < j);
        sorted[r] = own[j];
        place[FIRST + j] = r;
    }
}
