// The second pass's samples along rays, and where all samples stand when sorted: importance_sampling.py and composite.py in one
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

// What every sample contributes to its ray, from the signed values of the first samples [n,FIRST] and of the second [n,SECOND]
// (`empty`: none). depths, rank: as `resample` gives them; sharpness: [1], of the density's sigmoid. opacity: [n];
// depth: [n], huge where nothing is seen. Samples with a share above `least` are listed in `chosen` as
// ray · (FIRST + SECOND) + sample, with their `share`, and counted.
KERNEL weigh(int n, const float* depths, const int* rank, const float* first, const float* second, const float* sharpness,
             float empty, float least, float* opacity, float* depth, int* count, long* chosen, float* share)
{
    const long item = ITEM;
    if (item >= n) return;
    const int* place = rank + item * (FIRST + SECOND);
    const float* z = depths + item * (FIRST + SECOND);
    const float alpha = *sharpness;
    float density[FIRST + SECOND], own[FIRST + SECOND];
    bool any = false;
    opacity[item] = 0.f;
    depth[item] = 3e38f;
    for (int k = 0; k < FIRST + SECOND; ++k) {
        const float value = k < FIRST ? first[item * FIRST + k] : second[item * SECOND + k - FIRST];
        any = any || value > empty;
        density[place[k]] = value > empty ? alpha * sigmoid(alpha * value) : 0.f;
    }
    if (!any) return;
    float light = 1.f, sum = 0.f, middle = 0.f;
    own[0] = 0.f;
    for (int k = 0; k < FIRST + SECOND - 1; ++k) {
        const float opaque = 1.f - expf(-(density[k] + density[k + 1]) * 0.5f * (z[k + 1] - z[k]));
        const float seen = opaque * light;
        light *= 1.f - opaque + 1e-10f;
        own[k] += 0.5f * seen;
        own[k + 1] = 0.5f * seen;
        sum += seen;
        middle += seen * 0.5f * (z[k] + z[k + 1]);
    }
    opacity[item] = sum;
    if (sum > 0.f) depth[item] = middle / sum;
    int many = 0;
    for (int k = 0; k < FIRST + SECOND; ++k) {
        const float value = k < FIRST ? first[item * FIRST + k] : second[item * SECOND + k - FIRST];
        many += value > empty && own[place[k]] > least;
    }
    if (many == 0) return;
    int next = take(count, many);
    for (int k = 0; k < FIRST + SECOND; ++k) {
        const float value = k < FIRST ? first[item * FIRST + k] : second[item * SECOND + k - FIRST];
        if (!(value > empty && own[place[k]] > least)) continue;
        chosen[next] = item * (FIRST + SECOND) + k;
        share[next++] = own[place[k]];
    }
}
