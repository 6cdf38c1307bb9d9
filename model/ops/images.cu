// On images of any strides: the binomial filter of upfirdn2d.py, and the activation of bias_act.py.
// TYPE: 0 float, 1 bfloat16, 2 float16. Everything is computed in float. VEC: neighbouring numbers a thread.

#if TYPE == 0
typedef float T;
DEVICE float number(T x) { return x; }
DEVICE T rounded(float x) { return x; }
#else
typedef uint16_t T;
#if TYPE == 1
DEVICE float number(T x) { return __uint_as_float((unsigned)x << 16); }
DEVICE T rounded(float x)
{
    T y;
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}
#else
DEVICE float number(T x)
{
    float y;
    asm("cvt.f32.f16 %0, %1;" : "=f"(y) : "h"(x));
    return y;
}
DEVICE T rounded(float x)
{
    T y;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(y) : "f"(x));
    return y;
}
#endif
#endif

#ifdef HOST
struct Several { T v[VEC]; };
#else
struct __align__(sizeof(T) * VEC) Several { T v[VEC]; };
#endif

// UP - 1 zeros after each pixel, `pad` zeros before the first, correlation with [1,3,3,1]/8 both ways times `gain`, every
// DOWN-th pixel. in: [B,C,H,W], out: [B,C,h,w], with strides (b, c, y, x). With VEC > 1 channels lie side by side.
// A thread makes RUN neighbouring pixels of a row, so that it reads most of the input once.
#define RUN 4
#define SPAN ((RUN - 1) * DOWN + 4)
KERNEL fir(long items, const T* in, T* out, int channels, int H, int W, int h, int w, int pad, float gain,
           long ib, long ic, long iy, long ix, long ob, long oc, long oy, long ox, int channels_first)
{
    const long item = ITEM;
    if (item >= items) return;
    const int groups = channels / VEC, runs = (w + RUN - 1) / RUN;
    long rest = item;
    int c, x, y;
    if (channels_first) { x = rest % runs; rest /= runs; y = rest % h; rest /= h; c = rest % groups; rest /= groups; }
    else { c = rest % groups; rest /= groups; x = rest % runs; rest /= runs; y = rest % h; rest /= h; }
    x *= RUN;
    const T* source = in + rest * ib + (long)c * VEC * ic;
    const float taps[4] = {0.125f, 0.375f, 0.375f, 0.125f};
    float sum[RUN][VEC];
    UNROLL for (int r = 0; r < RUN; ++r) UNROLL for (int k = 0; k < VEC; ++k) sum[r][k] = 0.f;
    const int X0 = x * DOWN - pad, Y0 = y * DOWN - pad;
    UNROLL for (int s = 0; s < SPAN; ++s) {
        const int X = X0 + s;
        if (X < 0 || X >= W * UP || (UP > 1 && X % UP)) continue;
        float column[VEC];
        UNROLL for (int k = 0; k < VEC; ++k) column[k] = 0.f;
        UNROLL for (int i = 0; i < 4; ++i) {
            const int Y = Y0 + i;
            if (Y < 0 || Y >= H * UP || (UP > 1 && Y % UP)) continue;
            const Several found = *(const Several*)(source + (Y / UP) * iy + (X / UP) * ix);
            UNROLL for (int k = 0; k < VEC; ++k) column[k] += taps[i] * number(found.v[k]);
        }
        UNROLL for (int r = 0; r < RUN; ++r) {
            const int j = s - r * DOWN;
            if (j >= 0 && j < 4) { UNROLL for (int k = 0; k < VEC; ++k) sum[r][k] += taps[j] * column[k]; }
        }
    }
    UNROLL for (int r = 0; r < RUN; ++r) {
        if (x + r >= w) break;
        Several result;
        UNROLL for (int k = 0; k < VEC; ++k) result.v[k] = rounded(sum[r][k] * gain);
        *(Several*)(out + rest * ob + (long)c * VEC * oc + y * oy + (x + r) * ox) = result;
    }
}

// A bias for each channel (null: none), leaky ReLU, then ±clamp (clamp ≤ 0: none), in place. `inner` neighbouring numbers have
// the same channel.
KERNEL activate(long items, T* x, const float* bias, int channels, long inner, float slope, float clamp)
{
    const long item = ITEM;
    if (item >= items) return;
    Several* place = (Several*)(x + item * VEC);
    Several values = *place;
    const bool beside = inner == 1 && channels % VEC == 0;
    const int first = bias && beside ? (int)(item % (channels / VEC)) * VEC : 0;
    UNROLL for (int k = 0; k < VEC; ++k) {
        float v = number(values.v[k]);
        if (bias) v += bias[beside ? first + k : (int)((item * VEC + k) / inner % channels)];
        if (v < 0.f) v *= slope;
        if (clamp > 0.f) v = fminf(fmaxf(v, -clamp), clamp);
        values.v[k] = rounded(v);
    }
    *place = values;
}

// Its derivative at `result`, times `gradient`.
KERNEL derivative(long items, const T* gradient, const T* result, T* out, float slope, float clamp)
{
    const long item = ITEM;
    if (item >= items) return;
    const Several g = *(const Several*)(gradient + item * VEC), r = *(const Several*)(result + item * VEC);
    Several values;
    UNROLL for (int k = 0; k < VEC; ++k) {
        const float at = number(r.v[k]);
        float v = number(g.v[k]);
        if (!(at > 0.f)) v *= slope;
        if (clamp > 0.f && !(at > -clamp && at < clamp)) v = 0.f;
        values.v[k] = rounded(v);
    }
    *(Several*)(out + item * VEC) = values;
}
