// Shared by the kernels. Every kernel treats one item a thread and runs the same way, item after item, as plain C++
// (tests/model/ops compiles it so): HOST is defined there.
#ifdef HOST
#include <algorithm>
#include <cmath>
#include <cstdint>
using std::min;
static long thread_index = 0;
extern "C" void set_thread_index(long index) { thread_index = index; }
#define KERNEL extern "C" void
#define KERNEL3 KERNEL
#define DEVICE static inline
#define ITEM thread_index
struct float4 { float x, y, z, w; };
static inline void add_four(float* place, float a, float b, float c, float d)
{ place[0] += a; place[1] += b; place[2] += c; place[3] += d; }
#define STAGE(name, source, count) const float* name = source
#define UNROLL
#define BLOCK_BEGINS thread_index
static inline int take(int* count, int many) { const int place = *count; *count += many; return place; }
#define take_one(count) take(count, 1)
static inline void add_whole(int* place, int value) { *place += value; }
#else
typedef unsigned char uint8_t;
typedef unsigned short uint16_t;
#define KERNEL extern "C" __global__ void __launch_bounds__(128)
#define KERNEL3 extern "C" __global__ void __launch_bounds__(128, 3)  // as few registers as let three blocks run at once
#define DEVICE __device__ __forceinline__
#define ITEM (blockIdx.x * (long)blockDim.x + threadIdx.x)
DEVICE void add_four(float* place, float a, float b, float c, float d)
{
#if __CUDA_ARCH__ >= 900
    asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};"
                 :: "l"(place), "f"(a), "f"(b), "f"(c), "f"(d) : "memory");
#else
    atomicAdd(place, a); atomicAdd(place + 1, b); atomicAdd(place + 2, c); atomicAdd(place + 3, d);
#endif
}
// Copies what all threads read into shared memory. Stands before any return: every thread takes part.
#define STAGE(name, source, count) \
    __shared__ __align__(16) float name[count]; \
    for (int k = threadIdx.x; k < (count); k += blockDim.x) name[k] = (source)[k]; \
    __syncthreads()
#define UNROLL _Pragma("unroll")
#define BLOCK_BEGINS (blockIdx.x * (long)blockDim.x)
// The first of `many` places in a list that all threads add to; its length is `count`.
DEVICE int take(int* count, int many) { return atomicAdd(count, many); }
DEVICE int take_one(int* count)  // the threads of a warp that are here ask for their places together
{
    const unsigned here = __activemask();
    unsigned lane;
    asm("mov.u32 %0, %%laneid;" : "=r"(lane));
    const int leader = __ffs(here) - 1;
    int place = 0;
    if ((int)lane == leader) place = atomicAdd(count, __popc(here));
    return __shfl_sync(here, place, leader) + __popc(here & ((1u << lane) - 1u));
}
DEVICE void add_whole(int* place, int value) { atomicAdd(place, value); }
#endif

#define NONE 65535       // no vertex of this part is near
#define PART_SLOTS 16    // kept per cell, so that cells are aligned; PARTS of constants.py are used

// A voxel grid around the canonical body: box holds its centre and its scale, as Box.center and Box.scale.
struct Corner8 { int index[8]; float weight[8]; float fraction[3]; bool free[3]; };

DEVICE Corner8 corners(const float* p, const float* box, int w, int h, int d)
{
    Corner8 c;
    int base[3];
    const int sizes[3] = {w, h, d};
    UNROLL for (int a = 0; a < 3; ++a) {
        const float unit = (p[a] - box[a]) * box[3 + a];
        float place = (unit + 1.f) * 0.5f * (float)(sizes[a] - 1);
        c.free[a] = place > 0.f && place < (float)(sizes[a] - 1);
        place = fminf(fmaxf(place, 0.f), (float)(sizes[a] - 1));
        base[a] = min((int)floorf(place), sizes[a] - 2);
        c.fraction[a] = place - (float)base[a];
    }
    UNROLL for (int k = 0; k < 8; ++k) {
        const int x = k & 1, y = (k >> 1) & 1, z = k >> 2;
        c.index[k] = ((base[2] + z) * h + base[1] + y) * w + base[0] + x;
        c.weight[k] = (x ? c.fraction[0] : 1.f - c.fraction[0]) * (y ? c.fraction[1] : 1.f - c.fraction[1])
                    * (z ? c.fraction[2] : 1.f - c.fraction[2]);
    }
    return c;
}

// The blended transform at p: 3×4, row by row.
DEVICE void blend(float* m, const float* p, const float* table, const float* box, int w, int h, int d)
{
    const Corner8 c = corners(p, box, w, h, d);
    UNROLL for (int k = 0; k < 12; ++k) m[k] = 0.f;
    UNROLL for (int k = 0; k < 8; ++k) {
        const float4* row = (const float4*)(table + (long)c.index[k] * 12);
        UNROLL for (int r = 0; r < 3; ++r) {
            const float4 v = row[r];
            m[4 * r] += c.weight[k] * v.x;
            m[4 * r + 1] += c.weight[k] * v.y;
            m[4 * r + 2] += c.weight[k] * v.z;
            m[4 * r + 3] += c.weight[k] * v.w;
        }
    }
}

DEVICE bool inside_box(const float* p, const float* box)
{
    bool inside = true;
    UNROLL for (int a = 0; a < 3; ++a) inside = inside && fabsf((p[a] - box[a]) * box[3 + a]) <= 1.f;
    return inside;
}

// The body's signed distance at p.
DEVICE float distance_at(const float* p, const float* grid, const float* box, int w, int h, int d)
{
    const Corner8 c = corners(p, box, w, h, d);
    float value = 0.f;
    UNROLL for (int k = 0; k < 8; ++k) value += c.weight[k] * grid[c.index[k]];
    return value;
}

// The body's signed distance at p, and its gradient.
DEVICE float distance_and_gradient(float* gradient, const float* p, const float* grid, const float* box, int w, int h, int d)
{
    const Corner8 c = corners(p, box, w, h, d);
    float v[8], sum = 0.f;
    UNROLL for (int k = 0; k < 8; ++k) { v[k] = grid[c.index[k]]; sum += c.weight[k] * v[k]; }
    const int sizes[3] = {w, h, d};
    UNROLL for (int a = 0; a < 3; ++a) {
        float slope = 0.f;
        UNROLL for (int k = 0; k < 8; ++k) {
            float share = k >> a & 1 ? 1.f : -1.f;
            UNROLL for (int o = 0; o < 3; ++o)
                if (o != a) share *= k >> o & 1 ? c.fraction[o] : 1.f - c.fraction[o];
            slope += share * v[k];
        }
        gradient[a] = c.free[a] ? slope * 0.5f * (float)(sizes[a] - 1) * box[3 + a] : 0.f;
    }
    return sum;
}

// What carries gradients to posed space, of a blended transform m (3×4): with `covariant` the cofactors of its linear part,
// else that part. 3×3, row by row.
DEVICE void carrier(float* out, const float* m, int covariant)
{
    UNROLL for (int r = 0; r < 3; ++r)
        UNROLL for (int k = 0; k < 3; ++k) {
            const int r1 = (r + 1) % 3, r2 = (r + 2) % 3, k1 = (k + 1) % 3, k2 = (k + 2) % 3;
            out[3 * r + k] = covariant ? m[4 * r1 + k1] * m[4 * r2 + k2] - m[4 * r1 + k2] * m[4 * r2 + k1] : m[4 * r + k];
        }
}

// Where a point looks in the tri-planes: see triplane.py. Rows of CHANNELS floats; the plane is the fastest index.
struct Look { int row[3]; float u[3], v[3]; };

DEVICE Look look(const float* p, float to_planes, int image, int side)
{
    Look l;
    const int whole = side + 4;
    UNROLL for (int plane = 0; plane < 3; ++plane) {
        const float along[2] = {plane == 2 ? p[2] : p[0], plane == 1 ? p[2] : p[1]};
        float place[2], base[2];
        UNROLL for (int a = 0; a < 2; ++a) {
            place[a] = (along[a] * to_planes + 1.f) * (0.5f * (float)side) - 0.5f;
            place[a] = fminf(fmaxf(place[a], -2.f), (float)side);
            base[a] = floorf(place[a]);
        }
        l.u[plane] = place[0] - base[0];
        l.v[plane] = place[1] - base[1];
        l.row[plane] = ((image * whole + (int)base[1] + 2) * whole + (int)base[0] + 2) * 3 + plane;
    }
    return l;
}

// Row, share and derivatives of the share of texel k of a plane.
DEVICE int texel_row(const Look& l, int plane, int k, int side)
{ return l.row[plane] + (k & 1 ? 3 : 0) + (k >> 1 ? 3 * (side + 4) : 0); }
DEVICE float texel_share(const Look& l, int plane, int k)
{ return (k & 1 ? l.u[plane] : 1.f - l.u[plane]) * (k >> 1 ? l.v[plane] : 1.f - l.v[plane]) * (1.f / 3.f); }
DEVICE float texel_along_u(const Look& l, int plane, int k, int side)
{ return (k & 1 ? 1.f : -1.f) * (k >> 1 ? l.v[plane] : 1.f - l.v[plane]) * ((float)side / 6.f); }
DEVICE float texel_along_v(const Look& l, int plane, int k, int side)
{ return (k & 1 ? l.u[plane] : 1.f - l.u[plane]) * (k >> 1 ? 1.f : -1.f) * ((float)side / 6.f); }
#define U_AXIS(plane) ((plane) == 2 ? 2 : 0)
#define V_AXIS(plane) ((plane) == 1 ? 2 : 1)

#ifdef HOST
#define FAST_EXP expf
#define FAST_LOG logf
#else
#define FAST_EXP __expf
#define FAST_LOG __logf
#endif
DEVICE float sigmoid(float x)
{
    const float e = FAST_EXP(-fabsf(x));
    return (x < 0.f ? e : 1.f) / (1.f + e);
}
// Both in one go: softplus(x) = max(x, 0) + log(1 + exp(-|x|)).
DEVICE void softplus_sigmoid(float x, float* soft, float* share)
{
    const float e = FAST_EXP(-fabsf(x));
    *soft = fmaxf(x, 0.f) + FAST_LOG(1.f + e);
    *share = (x < 0.f ? e : 1.f) / (1.f + e);
}

#ifdef CHANNELS
// The mean feature of the three planes where a point looks.
DEVICE void gather(float* f, const Look& l, const float* rows, int side)
{
    UNROLL for (int c = 0; c < CHANNELS; ++c) f[c] = 0.f;
    UNROLL for (int plane = 0; plane < 3; ++plane)
        UNROLL for (int k = 0; k < 4; ++k) {
            const float4* row = (const float4*)(rows + (long)texel_row(l, plane, k, side) * CHANNELS);
            const float share = texel_share(l, plane, k);
            UNROLL for (int c = 0; c < CHANNELS / 4; ++c) {
                const float4 v = row[c];
                f[4 * c] += share * v.x; f[4 * c + 1] += share * v.y;
                f[4 * c + 2] += share * v.z; f[4 * c + 3] += share * v.w;
            }
        }
}
#endif
