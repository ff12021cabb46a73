// Backward: the lanes of a pixel and group sum the offset and mask gradients between them; the input gradient goes to a sink.
#pragma once

#include "sinks.cuh"

namespace dcnv3 {

// Sum over the lanes of a pixel-group, in an order that never changes; every lane receives it.
template <class S>
__device__ __forceinline__ typename S::A lane_sum(typename S::A number) {
#pragma unroll
    for (int apart = S::LANES / 2; apart > 0; apart /= 2) number += __shfl_xor_sync(0xffffffffu, number, apart);
    return number;
}

// What a point's four pixels say about its weight and position.
template <class A>
struct Slopes {
    A weight, x, y;
};

// Products of the gradient with the four pixels, one lane's share.
template <class A>
struct Dots {
    A upper_left = 0, upper_right = 0, lower_left = 0, lower_right = 0;

    __device__ __forceinline__ Slopes<A> slopes(A share_x, A share_y) const {
        const A upper = upper_right - upper_left, lower = lower_right - lower_left;
        const A above = upper_left + share_x * upper, below = lower_left + share_x * lower;
        return {above + share_y * (below - above), upper + share_y * (lower - upper), below - above};
    }
};

template <class S, bool PARAMETERS, class Sink>
struct Corner {
    using A = typename S::A;
    const typename S::T* pixel;  // the upper left one, first channel of the chunk
    const Sink& sink;
    const A (&grad)[S::VECTOR];
    int channel;

    __device__ __forceinline__ void visit(long long ahead, int cell, A weight, A& dot) const {
        sink.add(cell, channel, weight, grad);
        if constexpr (PARAMETERS) {
            A numbers[S::VECTOR];
            fetch(pixel + ahead, numbers);
#pragma unroll
            for (int c = 0; c < S::VECTOR; ++c) dot += grad[c] * numbers[c];
        }
    }
};

// Everything that one thread does for one pixel-group.
template <class S, bool PARAMETERS, class Sink>
struct Unit {
    using A = typename S::A;
    using P = typename S::P;
    const Arguments& a;
    const Sink& sink;
    const Place<S>& place;
    long long pixel_group;
    int lane;
    int channel;  // the tile's first, within the group
    bool active;  // idle threads walk along, for the shuffles' sake, and write nothing
    A* scratch;   // K sums for the pixel-group, where the number of points is unknown to the compiler

    __device__ __forceinline__ void fetch_grad(int chunk, A (&grad)[S::VECTOR]) const {
        fetch(static_cast<const typename S::T*>(a.grad) + pixel_group * S::CHANNELS + channel + chunk * S::VECTOR, grad);
    }

    __device__ __forceinline__ void visit(const Sample<S>& point, A weight, int chunk, const A (&grad)[S::VECTOR], Dots<A>& dots) const {
        const long long column = pixel_step<S>(a), row = column * a.x.size;
        const A lower = weight * point.share_y, upper = weight - lower;
        const A lower_right = lower * point.share_x, upper_right = upper * point.share_x;
        const typename S::T* plane = static_cast<const typename S::T*>(a.value) + plane_start<S>(a, place.image, place.group);
        const Corner<S, PARAMETERS, Sink> corner{plane + point.first * column + channel + chunk * S::VECTOR, sink, grad, chunk * S::VECTOR};
        const int below = point.first + a.x.size;
        if (point.upper && point.left) corner.visit(0, point.first, upper - upper_right, dots.upper_left);
        if (point.upper && point.right) corner.visit(column, point.first + 1, upper_right, dots.upper_right);
        if (point.lower && point.left) corner.visit(row, below, lower - lower_right, dots.lower_left);
        if (point.lower && point.right) corner.visit(row + column, below + 1, lower_right, dots.lower_right);
    }

    // The slopes at one point, summed over the lanes.
    __device__ __forceinline__ Slopes<A> point(const Sample<S>& point, A weight, const A (&first_grad)[S::VECTOR]) const {
        Slopes<A> slopes{0, 0, 0};
        if (point.inside && active) {
            Dots<A> dots;
            if constexpr (S::CHUNKS <= S::LANES) {
                if (lane < S::CHUNKS) visit(point, weight, lane, first_grad, dots);
            } else {
                for (int chunk = lane; chunk < S::CHUNKS; chunk += S::LANES) {
                    A grad[S::VECTOR];
                    fetch_grad(chunk, grad);
                    visit(point, weight, chunk, grad, dots);
                }
            }
            if constexpr (PARAMETERS) slopes = dots.slopes(point.share_x, point.share_y);
        }
        if constexpr (!PARAMETERS) return slopes;
        return {lane_sum<S>(slopes.weight), lane_sum<S>(slopes.x), lane_sum<S>(slopes.y)};
    }

    __device__ __forceinline__ void store_offset(int q, A weight, const Slopes<A>& slopes) const {
        using L = typename S::L;
        const A scale = weight * static_cast<A>(a.offset_scale);
        const L pair[2] = {static_cast<L>(scale * slopes.x), static_cast<L>(scale * slopes.y)};
        if (active && lane == 0) store(static_cast<P*>(a.d_offset) + 2 * (pixel_group * points<S>(a) + q), pair);
    }

    __device__ __forceinline__ void store_mask(int q, A slope) const {
        const typename S::L single[1] = {static_cast<typename S::L>(slope)};
        if (active) store(static_cast<P*>(a.d_mask) + pixel_group * points<S>(a) + q, single);
    }

    __device__ __forceinline__ void run() const {
        const Weights<S> weights(a, static_cast<const P*>(a.mask) + pixel_group * points<S>(a));
        const P* offset = static_cast<const P*>(a.offset) + 2 * pixel_group * points<S>(a);
        A grad[S::VECTOR] = {};
        if (S::CHUNKS <= S::LANES && lane < S::CHUNKS) fetch_grad(lane, grad);
        A kept[S::UNROLLED ? S::POINTS : 1];
        A total = 0;
        Walk<S> walk;
#pragma unroll(S::UNROLLED ? S::POINTS : 1)
        for (int q = 0; q < points<S>(a); ++q, walk.step(a)) {
            walk.skip_removed(a, q);
            const A weight = weights(q);
            const Slopes<A> slopes = point(sample<S>(a, place, walk, offset + 2 * q), weight, grad);
            if constexpr (!PARAMETERS) continue;
            store_offset(q, weight, slopes);
            total += weight * slopes.weight;
            if constexpr (S::UNROLLED) kept[q] = slopes.weight;
            else if (lane == 0) scratch[q] = slopes.weight;
        }
        if constexpr (PARAMETERS) finish(weights, kept, total);
    }

    // Softmax: the slope of a logit is its weight times what its point's slope exceeds the weighted mean by.
    __device__ __forceinline__ void finish(const Weights<S>& weights, const A* kept, A total) const {
        if constexpr (S::UNROLLED) {
#pragma unroll
            for (int q = 0; q < S::POINTS; ++q)
                if (lane == 0) store_mask(q, a.softmax ? weights(q) * (kept[q] - total) : kept[q]);
        } else {
            __syncwarp();
            for (int q = lane; q < a.points; q += S::LANES) store_mask(q, a.softmax ? weights(q) * (scratch[q] - total) : scratch[q]);
            __syncwarp();
        }
    }
};

// A thread for every lane of every pixel-group; no block depends on another.
template <class S, template <class> class SinkOf>
__device__ __forceinline__ void backward_everywhere(const Arguments& a) {
    using Index = typename S::Index;
    using Sink = SinkOf<S>;
    DCNV3_SHARED(shared);
    const Index thread = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
    const Index last = static_cast<Index>(a.pixel_groups) - 1, wanted = thread / S::LANES;
    const Index pixel_group = wanted < last ? wanted : last;
    const Place<S> place(a, pixel_group);
    const Sink sink(a, place);
    typename S::A* scratch = reinterpret_cast<typename S::A*>(shared) + threadIdx.x / S::LANES * a.points;
    const int lane = static_cast<int>(thread % S::LANES);
    Unit<S, true, Sink>{a, sink, place, static_cast<long long>(pixel_group), lane, 0, wanted <= last, scratch}.run();
}

template <class S>
struct NoSinkOf : NoSink {
    __device__ __forceinline__ NoSinkOf(const Arguments&, const Place<S>&) {}
};

template <class S>
__device__ __forceinline__ void backward_parameters(const Arguments& a) {
    backward_everywhere<S, NoSinkOf>(a);
}

template <class S>
__device__ __forceinline__ void backward_sums(const Arguments& a) {
    backward_everywhere<S, GlobalSink>(a);
}

template <class S>
__device__ __forceinline__ void backward_fixed(const Arguments& a) {
    backward_everywhere<S, FixedSink>(a);
}

// A block for every image, group and tile of channels, whose input gradient stays in shared memory until it is written, once.
template <class S, bool PARAMETERS>
__device__ __forceinline__ void backward_in_planes(const Arguments& a) {
    using A = typename S::A;
    constexpr int TILES = S::CHANNELS / S::TILE;
    DCNV3_SHARED(shared);
    const int cells = a.x.size * a.y.size, outputs = a.x.outputs * a.y.outputs, threads = static_cast<int>(blockDim.x);
    const int channel = static_cast<int>(blockIdx.x % TILES) * S::TILE, group = static_cast<int>(blockIdx.x / TILES % a.groups);
    const long long image = blockIdx.x / TILES / a.groups;
    const PlaneSink<A> sink{reinterpret_cast<A*>(shared), plane_stride(cells)};
    A* scratch = sink.plane + S::TILE * sink.stride + threadIdx.x / S::LANES * a.points;
    for (int i = threadIdx.x; i < S::TILE * sink.stride; i += threads) sink.plane[i] = 0;
    __syncthreads();
    const int lane = threadIdx.x % S::LANES, together = threads / S::LANES;
    for (int start = 0; start < outputs; start += together) {
        const int wanted = start + static_cast<int>(threadIdx.x) / S::LANES, pixel = wanted < outputs ? wanted : outputs - 1;
        Place<S> place;
        place.x = pixel % a.x.outputs, place.y = pixel / a.x.outputs, place.group = group, place.image = image;
        const long long pixel_group = (image * outputs + pixel) * a.groups + group;
        Unit<S, PARAMETERS, PlaneSink<A>>{a, sink, place, pixel_group, lane, channel, wanted < outputs, scratch}.run();
    }
    __syncthreads();
    typename S::T* target = static_cast<typename S::T*>(a.d_value) + plane_start<S>(a, image, group) + channel;
    for (int i = threadIdx.x; i < cells * S::CHUNKS; i += threads) {
        const int cell = i / S::CHUNKS, first = i % S::CHUNKS * S::VECTOR;
        A numbers[S::VECTOR];
#pragma unroll
        for (int c = 0; c < S::VECTOR; ++c) numbers[c] = sink.plane[(first + c) * sink.stride + cell];
        store(target + cell * pixel_step<S>(a) + first, numbers);
    }
}

template <class S>
__device__ __forceinline__ void backward_plane(const Arguments& a) {
    backward_in_planes<S, true>(a);
}

template <class S>
__device__ __forceinline__ void backward_tile(const Arguments& a) {
    backward_in_planes<S, false>(a);
}

}  // namespace dcnv3
