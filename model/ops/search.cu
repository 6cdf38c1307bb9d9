// From posed points to canonical ones: which points are near the body, the search, and the choice among its roots.

// For each cell of a grid around each posed body, the vertex of each part that is nearest to the cell's centre.
// vertices: [B,S] float4 (w unused), parts one after the other as `first` says [PARTS+1]; bounds: [B,6], low and size of a cell;
// cells: [B,z,y,x,PART_SLOTS]. A vertex farther than `reach` plus half the cell's diagonal is none.
KERNEL nearest_of_cells(int images, int w, int h, int d, const float4* vertices, int count, const int* first,
                        const float* bounds, float reach, uint16_t* cells)
{
    const long item = ITEM;
    const long each = (long)w * h * d;
    if (item >= images * each) return;
    const int image = (int)(item / each), cell = (int)(item % each);
    const float* b = bounds + 6 * image;
    const float x = b[0] + ((float)(cell % w) + 0.5f) * b[3];
    const float y = b[1] + ((float)(cell / w % h) + 0.5f) * b[4];
    const float z = b[2] + ((float)(cell / (w * h)) + 0.5f) * b[5];
    const float far = reach + 0.5f * sqrtf(b[3] * b[3] + b[4] * b[4] + b[5] * b[5]);
    const float4* cloud = vertices + (long)image * count;
    uint16_t* out = cells + item * PART_SLOTS;
    for (int part = 0; part < PARTS; ++part) {
        float best = far * far;
        int found = NONE;
        for (int k = first[part]; k < first[part + 1]; ++k) {
            const float4 v = cloud[k];
            const float dx = v.x - x, dy = v.y - y, dz = v.z - z;
            const float square = dx * dx + dy * dy + dz * dz;
            if (square < best) { best = square; found = k; }
        }
        out[part] = (uint16_t)found;
    }
}

DEVICE long cell_of(const float* p, const float* b, int image, int w, int h, int d)
{
    const int x = (int)floorf((p[0] - b[0]) / b[3]), y = (int)floorf((p[1] - b[1]) / b[4]);
    const int z = (int)floorf((p[2] - b[2]) / b[5]);
    if (x < 0 || y < 0 || z < 0 || x >= w || y >= h || z >= d) return -1;
    return ((long)(image * d + z) * h + y) * w + x;
}

// points: [B·N,3]; near: [B·N], one bit for each part whose vertex is within `reach`, and at most `aside` farther than the
// nearest part's. The places of points with such a part are listed in `chosen`, in any order, and counted.
KERNEL near_parts(long total, int per_image, int w, int h, int d, const float* points, const float4* vertices, int count,
                  const float* bounds, const uint16_t* cells, float reach, float aside, uint16_t* near, int* count_near, long* chosen)
{
    const long item = ITEM;
    if (item >= total) return;
    const int image = (int)(item / per_image);
    const float* p = points + 3 * item;
    const long cell = cell_of(p, bounds + 6 * image, image, w, h, d);
    uint16_t bits = 0;
    if (cell >= 0) {
        float far[PARTS], least = reach;
        for (int part = 0; part < PARTS; ++part) {
            const int k = cells[cell * PART_SLOTS + part];
            far[part] = 2.f * reach;
            if (k == NONE) continue;
            const float4 v = vertices[(long)image * count + k];
            const float dx = v.x - p[0], dy = v.y - p[1], dz = v.z - p[2];
            far[part] = sqrtf(dx * dx + dy * dy + dz * dz);
            least = fminf(least, far[part]);
        }
        for (int part = 0; part < PARTS; ++part)
            if (far[part] < reach && far[part] <= least + aside) bits |= (uint16_t)(1 << part);
    }
    near[item] = bits;
    if (bits) chosen[take_one(count_near)] = item;
}

DEVICE void times(float* out, const float* m, const float* v)
{
    UNROLL for (int r = 0; r < 3; ++r) out[r] = m[3 * r] * v[0] + m[3 * r + 1] * v[1] + m[3 * r + 2] * v[2];
}

// Broyden's search (see deformation/broyden.py, `guarded`): x is start and result, inverse the estimate there. Whether it converged.
DEVICE bool solve(float* x, float* inverse, const float* target, const float* table, const float* box, int w, int h, int d)
{
    float m[12], residual[3];
    blend(m, x, table, box, w, h, d);
    UNROLL for (int r = 0; r < 3; ++r)
        residual[r] = m[4 * r] * x[0] + m[4 * r + 1] * x[1] + m[4 * r + 2] * x[2] + m[4 * r + 3] - target[r];
    for (int iteration = 0; iteration < 15; ++iteration) {
        float step[3], next[3], change[3], left[3], back[3];
        times(step, inverse, residual);
        UNROLL for (int r = 0; r < 3; ++r) { step[r] = -step[r]; x[r] += step[r]; }
        blend(m, x, table, box, w, h, d);
        float error = 0.f;
        UNROLL for (int r = 0; r < 3; ++r) {
            next[r] = m[4 * r] * x[0] + m[4 * r + 1] * x[1] + m[4 * r + 2] * x[2] + m[4 * r + 3] - target[r];
            change[r] = next[r] - residual[r];
            error += next[r] * next[r];
        }
        if (error < 2e-4f * 2e-4f) return inside_box(x, box);
        if (error > 1.f) return false;
        UNROLL for (int c = 0; c < 3; ++c)
            left[c] = inverse[c] * step[0] + inverse[3 + c] * step[1] + inverse[6 + c] * step[2];
        float denominator = left[0] * change[0] + left[1] * change[1] + left[2] * change[2];
        if (fabsf(denominator) < 1e-9f) denominator = 1e-9f;
        times(back, inverse, change);
        UNROLL for (int r = 0; r < 3; ++r) {
            UNROLL for (int c = 0; c < 3; ++c) inverse[3 * r + c] += (step[r] - back[r]) * left[c] / denominator;
            residual[r] = next[r];
        }
    }
    return false;
}

// The residual's signed value at a canonical point: features of the planes through the decoder's first output.
DEVICE float residual_at(const float* p, float to_planes, int image, const float* rows, int side, const float* w1,
                         const float* b1, const float* w2, float b2)
{
    float f[CHANNELS];
    const Look l = look(p, to_planes, image, side);
    gather(f, l, rows, side);
    float value = b2;
    for (int j = 0; j < HIDDEN; ++j) {
        float before = b1[j];
        UNROLL for (int c = 0; c < CHANNELS; ++c) before += w1[j * CHANNELS + c] * f[c];
        float soft, share;
        softplus_sigmoid(before, &soft, &share);
        value += w2[j] * soft;
    }
    return value;
}

// The best root of each listed point. flat: [B·N], the first `listed` are places among the points; roots: [B·N,3];
// values: [B·N], the signed value, or `empty` where there is no root; those of other points stay as they are. backward: [B,S,12],
// of each vertex the inverse of its transform's linear part, and the translation. decoder: w1 [HIDDEN,CHANNELS], b1 [HIDDEN],
// the first row of w2 [HIDDEN], b2 [1], one after the other.
KERNEL best_roots(const int* listed, const long* flat, int per_image, const float* points, const uint16_t* near,
                  int gw, int gh, int gd, const uint16_t* cells, const float* bounds, int count, const float* backward,
                  int w, int h, int d, const float* tables, const float* box,
                  int dw, int dh, int dd, const float* distance, const float* rows, int side, float to_planes,
                  const float* decoder, float empty, float* roots, float* values)
{
    const long many = *listed;
    if (BLOCK_BEGINS >= many) return;
    STAGE(net, decoder, HIDDEN * CHANNELS + 2 * HIDDEN + 1);
    const long item = ITEM;
    if (item >= many) return;
    const long place = flat[item];
    const int image = (int)(place / per_image);
    const float target[3] = {points[3 * place], points[3 * place + 1], points[3 * place + 2]};
    const long cell = cell_of(target, bounds + 6 * image, image, gw, gh, gd);
    const float* table = tables + (long)image * w * h * d * 12;
    const float *w1 = net, *b1 = net + HIDDEN * CHANNELS, *w2 = b1 + HIDDEN;
    float best = empty, root[3] = {0.f, 0.f, 0.f};
    for (int part = 0; part < PARTS; ++part) {
        if (!(near[place] >> part & 1)) continue;
        const float* own = backward + ((long)image * count + cells[cell * PART_SLOTS + part]) * 12;
        float inverse[9], away[3], x[3];
        UNROLL for (int r = 0; r < 3; ++r) {
            UNROLL for (int c = 0; c < 3; ++c) inverse[3 * r + c] = own[3 * r + c];
            away[r] = target[r] - own[9 + r];
        }
        times(x, inverse, away);
        if (!solve(x, inverse, target, table, box, w, h, d)) continue;
        const float value = residual_at(x, to_planes, image, rows, side, w1, b1, w2, w2[HIDDEN])
                          + distance_at(x, distance, box, dw, dh, dd);
        if (value > best) { best = value; UNROLL for (int r = 0; r < 3; ++r) root[r] = x[r]; }
    }
    values[place] = best;
    UNROLL for (int r = 0; r < 3; ++r) roots[3 * place + r] = root[r];
}

// At canonical points [n,3] of the images [n]: the body's signed distance, its gradient, and, where `tables` is given, what
// carries gradients to posed space: with `covariant` the cofactors of the blended transform's linear part, else that part.
KERNEL surroundings(int n, const float* points, const long* image, int dw, int dh, int dd, const float* distance,
                    int w, int h, int d, const float* tables, const float* box, int covariant,
                    float* value, float* gradient, float* carry)
{
    const long item = ITEM;
    if (item >= n) return;
    const float p[3] = {points[3 * item], points[3 * item + 1], points[3 * item + 2]};
    value[item] = distance_and_gradient(gradient + 3 * item, p, distance, box, dw, dh, dd);
    if (tables == nullptr) return;
    float m[12];
    blend(m, p, tables + image[item] * (long)w * h * d * 12, box, w, h, d);
    carrier(carry + 9 * item, m, covariant);
}
