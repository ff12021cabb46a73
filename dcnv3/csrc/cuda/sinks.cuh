// Where the input gradient of a point goes: nowhere, into global sums, into integer sums or into a plane in shared memory.
#pragma once

#include "sampling.cuh"

namespace dcnv3 {

// Four neighbouring sums, from a multiple of 16 bytes: in one go where the device can.
#if defined(DCNV3_EMULATED)
inline void add_four(float* target, float p, float q, float r, float s) { emulated_add_four(target, p, q, r, s); }
#elif __CUDA_ARCH__ >= 900
// No clobber of memory: these sums are read by later kernels only, and loads may move across them.
__device__ __forceinline__ void add_four(float* target, float p, float q, float r, float s) {
    asm volatile("red.global.add.v4.f32 [%0], {%1, %2, %3, %4};" ::"l"(__cvta_generic_to_global(target)), "f"(p), "f"(q), "f"(r), "f"(s));
}
#else
__device__ __forceinline__ void add_four(float* target, float p, float q, float r, float s) {
    atomicAdd(target, p);
    atomicAdd(target + 1, q);
    atomicAdd(target + 2, r);
    atomicAdd(target + 3, s);
}
#endif

struct NoSink {
    template <int COUNT, class A>
    __device__ __forceinline__ void add(int, int, A, const A (&)[COUNT]) const {}
};

// Sums in global memory; 16 bytes at a time where the device can.
template <class S>
struct GlobalSink {
    using A = typename S::A;
    A* plane;
    long long step;

    __device__ __forceinline__ GlobalSink(const Arguments& a, const Place<S>& place)
        : plane(static_cast<A*>(a.d_value) + plane_start<S>(a, place.image, place.group)), step(pixel_step<S>(a)) {}

    template <int COUNT>
    __device__ __forceinline__ void add(int cell, int channel, A weight, const A (&grad)[COUNT]) const {
        A* target = plane + cell * step + channel;
        if constexpr (COUNT % 4 == 0 && sizeof(A) == 4) {
#pragma unroll
            for (int c = 0; c < COUNT; c += 4)
                add_four(target + c, weight * grad[c], weight * grad[c + 1], weight * grad[c + 2], weight * grad[c + 3]);
        } else {
#pragma unroll
            for (int c = 0; c < COUNT; ++c) atomicAdd(target + c, weight * grad[c]);
        }
    }
};

__device__ __forceinline__ long long nearest(float number) { return __float2ll_rn(number); }
__device__ __forceinline__ long long nearest(double number) { return __double2ll_rn(number); }

// Sums of whole numbers do not depend on their order, so two runs agree to the bit.
template <class S>
struct FixedSink {
    using A = typename S::A;
    unsigned long long* plane;
    long long step;
    A scale;

    __device__ __forceinline__ FixedSink(const Arguments& a, const Place<S>& place)
        : plane(static_cast<unsigned long long*>(a.d_value) + plane_start<S>(a, place.image, place.group)),
          step(pixel_step<S>(a)),
          scale(static_cast<A>(*a.fixed)) {}

    template <int COUNT>
    __device__ __forceinline__ void add(int cell, int channel, A weight, const A (&grad)[COUNT]) const {
        unsigned long long* target = plane + cell * step + channel;
#pragma unroll
        for (int c = 0; c < COUNT; ++c) atomicAdd(target + c, static_cast<unsigned long long>(nearest(weight * grad[c] * scale)));
    }
};

// One plane a channel, so that neighbouring pixels lie in neighbouring banks.
template <class A>
struct PlaneSink {
    A* plane;
    int stride;

    template <int COUNT>
    __device__ __forceinline__ void add(int cell, int channel, A weight, const A (&grad)[COUNT]) const {
        A* target = plane + channel * stride + cell;
#pragma unroll
        for (int c = 0; c < COUNT; ++c) atomicAdd(target + c * stride, weight * grad[c]);
    }
};

// Cells between two planes in shared memory: 2 more than a multiple of 4, so that the lanes of a pixel fall into different banks.
__device__ __forceinline__ int plane_stride(int cells) { return (cells + 1) / 4 * 4 + 2; }

}  // namespace dcnv3
