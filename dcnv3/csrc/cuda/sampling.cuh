// Where a pixel of a group samples its plane and with what weights: the arithmetic that forward and backward share.
#pragma once

#include "numbers.cuh"

namespace dcnv3 {

// One direction of the lattice. `origin` is center - padding: the input pixel under the kernel's middle for output 0.
struct Axis {
    int size;
    int outputs;
    int kernel;
    int stride;
    int dilation;
    int center;
    int origin;
};

// The one parameter of every kernel; dcnv3/cuda.py builds the same record with ctypes.
struct Arguments {
    const void* value;      // T (N, H, W, G·C')
    const void* offset;     // P (N, Ho, Wo, G·K·2), x before y, in pixels
    const void* mask;       // P (N, Ho, Wo, G·K), logits when `softmax`
    const void* grad;       // T (N, Ho, Wo, G·C')
    void* output;           // T, as grad
    void* d_value;          // Sum<T>, 64-bit integers or, by plane, T; as value
    void* d_offset;         // P, as offset
    void* d_mask;           // P, as mask
    const double* fixed;    // one number: how many steps of the fixed-point sum make 1
    double offset_scale;
    long long pixel_groups; // N·Ho·Wo·G
    Axis x, y;
    int groups;
    int points;             // K
    int removed;            // the point left out of the kernel, or -1
    int softmax;
};

// What a kernel is compiled for. Threads serve TILE of a group's CHANNELS, LANES threads with VECTOR channels each (in turns, where they
// are too few). KERNEL_H and KERNEL_W are 0 where known at launch only; when known, every loop over the points is unrolled.
template <class T_, class P_, int CHANNELS_, int TILE_, int VECTOR_, int LANES_, int KERNEL_H_, int KERNEL_W_, class Index_>
struct Setup {
    using T = T_;
    using P = P_;
    using A = Sum<T_>;
    using L = Sum<P_>;
    using Index = Index_;
    static constexpr int CHANNELS = CHANNELS_, TILE = TILE_, VECTOR = VECTOR_, LANES = LANES_;
    static constexpr int CHUNKS = TILE / VECTOR;
    static constexpr int KERNEL_H = KERNEL_H_;
    static constexpr int POINTS = KERNEL_H_ * KERNEL_W_;
    static constexpr bool UNROLLED = POINTS > 0;
};

template <class S>
__device__ __forceinline__ int points(const Arguments& a) {
    return S::UNROLLED ? S::POINTS : a.points;
}

// The output pixel and group of a thread.
template <class S>
struct Place {
    int x, y, group;
    long long image;

    Place() = default;

    __device__ __forceinline__ Place(const Arguments& a, typename S::Index pixel_group) {
        using Index = typename S::Index;
        const Index pixel = pixel_group / static_cast<Index>(a.groups);
        const Index row = pixel / static_cast<Index>(a.x.outputs);
        const Index number = row / static_cast<Index>(a.y.outputs);
        group = static_cast<int>(pixel_group - pixel * a.groups);
        x = static_cast<int>(pixel - row * a.x.outputs);
        y = static_cast<int>(row - number * a.y.outputs);
        image = static_cast<long long>(number);
    }
};

// Column i and row j of the kernel's points in their order: along y first.
template <class S>
struct Walk {
    int i = 0, j = 0;

    __device__ __forceinline__ void skip_removed(const Arguments& a, int q) {
        if (!S::UNROLLED && q == a.removed) step(a);
    }

    __device__ __forceinline__ void step(const Arguments& a) {
        if (++j == (S::UNROLLED ? S::KERNEL_H : a.y.kernel)) {
            j = 0;
            ++i;
        }
    }
};

// Rounded after the product and after the sum, as the reference is; only the offset's product is fused, as PyTorch's CUDA kernels do.
template <class L>
__device__ __forceinline__ L coordinate(const Axis& axis, int output, int step, L offset, L scale) {
    const L reach = rounded_product(static_cast<L>(step * axis.dilation - axis.center), scale);
    return fused(offset, scale, rounded_sum(static_cast<L>(output * axis.stride + axis.origin), reach));
}

// The four pixels around a point. Off the plane (NaN and infinity included) nothing but `inside` is set.
template <class S>
struct Sample {
    bool inside, left, right, upper, lower;
    int first;  // cell of the upper left pixel, in the plane or not
    typename S::A share_x, share_y;

    __device__ __forceinline__ Sample(const Arguments& a, typename S::L x, typename S::L y) {
        using L = typename S::L;
        inside = x > L(-1) && x < static_cast<L>(a.x.size) && y > L(-1) && y < static_cast<L>(a.y.size);
        if (!inside) return;
        const L before = floor(x), above = floor(y);
        const int column = static_cast<int>(before), row = static_cast<int>(above);
        share_x = static_cast<typename S::A>(x - before);
        share_y = static_cast<typename S::A>(y - above);
        left = column >= 0;
        right = column + 1 < a.x.size;
        upper = row >= 0;
        lower = row + 1 < a.y.size;
        first = row * a.x.size + column;
    }
};

template <class S>
__device__ __forceinline__ Sample<S> sample(const Arguments& a, const Place<S>& place, const Walk<S>& walk, const typename S::P* offset) {
    using L = typename S::L;
    const Pack<typename S::P, 2> pair = load<2>(offset);
    const L scale = static_cast<L>(a.offset_scale);
    return Sample<S>(a, coordinate<L>(a.x, place.x, walk.i, widen(pair.item[0]), scale),
                     coordinate<L>(a.y, place.y, walk.j, widen(pair.item[1]), scale));
}

__device__ __forceinline__ float exponential(float x) { return exp2f(x * 1.44269504f); }
__device__ __forceinline__ double exponential(double x) { return exp(x); }

// The weights of a pixel-group's points: in registers when their number is known to the compiler, made anew at every use otherwise.
template <class S, bool UNROLLED = S::UNROLLED>
struct Weights;

template <class S>
struct Weights<S, true> {
    typename S::A weight[S::POINTS];

    __device__ __forceinline__ Weights(const Arguments& a, const typename S::P* mask) {
        using A = typename S::A;
#pragma unroll
        for (int q = 0; q < S::POINTS; ++q) weight[q] = convert<A>(load<1>(mask + q).item[0]);
        if (!a.softmax) return;
        A top = weight[0], sum = 0;
#pragma unroll
        for (int q = 1; q < S::POINTS; ++q) top = weight[q] > top ? weight[q] : top;
#pragma unroll
        for (int q = 0; q < S::POINTS; ++q) sum += weight[q] = exponential(weight[q] - top);
        const A share = 1 / sum;
#pragma unroll
        for (int q = 0; q < S::POINTS; ++q) weight[q] *= share;
    }

    __device__ __forceinline__ typename S::A operator()(int q) const { return weight[q]; }
};

template <class S>
struct Weights<S, false> {
    const typename S::P* mask;
    typename S::A top = 0, share = 1;
    bool softmax;

    __device__ __forceinline__ Weights(const Arguments& a, const typename S::P* mask_) : mask(mask_), softmax(a.softmax) {
        if (!softmax) return;
        typename S::A sum = 0;
        top = logit(0);
        for (int q = 1; q < a.points; ++q) top = logit(q) > top ? logit(q) : top;
        for (int q = 0; q < a.points; ++q) sum += exponential(logit(q) - top);
        share = 1 / sum;
    }

    __device__ __forceinline__ typename S::A logit(int q) const { return convert<typename S::A>(load<1>(mask + q).item[0]); }
    __device__ __forceinline__ typename S::A operator()(int q) const { return softmax ? exponential(logit(q) - top) * share : logit(q); }
};

// Channels between two neighbouring pixels.
template <class S>
__device__ __forceinline__ long long pixel_step(const Arguments& a) {
    return static_cast<long long>(a.groups) * S::CHANNELS;
}

// Index of the first channel of `group` in the first pixel of `image`.
template <class S>
__device__ __forceinline__ long long plane_start(const Arguments& a, long long image, int group) {
    return image * a.x.size * a.y.size * pixel_step<S>(a) + static_cast<long long>(group) * S::CHANNELS;
}

}  // namespace dcnv3
