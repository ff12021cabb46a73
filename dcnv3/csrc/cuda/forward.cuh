// Forward: a thread owns up to 16 bytes of channels of one output pixel and group, and makes its bilinear weights once.
#pragma once

#include "sampling.cuh"

namespace dcnv3 {

template <class S>
__device__ __forceinline__ void add_corner(typename S::A (&sum)[S::VECTOR], const typename S::T* corner, typename S::A weight) {
    typename S::A pixel[S::VECTOR];
    fetch(corner, pixel);
#pragma unroll
    for (int c = 0; c < S::VECTOR; ++c) sum[c] += weight * pixel[c];
}

template <class S>
__device__ __forceinline__ void add_point(const Arguments& a, typename S::A (&sum)[S::VECTOR], const Sample<S>& point,
                                          const typename S::T* plane, typename S::A weight) {
    using A = typename S::A;
    const long long column = pixel_step<S>(a), row = column * a.x.size;
    const typename S::T* corner = plane + point.first * column;
    const A lower = weight * point.share_y, upper = weight - lower;
    const A lower_right = lower * point.share_x, upper_right = upper * point.share_x;
    // Only pixels of the plane are read: a border costs no memory, and nothing beyond the tensor is touched.
    if (point.upper && point.left) add_corner<S>(sum, corner, upper - upper_right);
    if (point.upper && point.right) add_corner<S>(sum, corner + column, upper_right);
    if (point.lower && point.left) add_corner<S>(sum, corner + row, lower - lower_right);
    if (point.lower && point.right) add_corner<S>(sum, corner + row + column, lower_right);
}

template <class S>
__device__ __forceinline__ void forward(const Arguments& a) {
    using Index = typename S::Index;
    const Index thread = static_cast<Index>(blockIdx.x) * blockDim.x + threadIdx.x;
    const Index pixel_group = thread / S::LANES;
    if (pixel_group >= static_cast<Index>(a.pixel_groups)) return;
    const long long first = static_cast<long long>(pixel_group) * points<S>(a);
    const Place<S> place(a, pixel_group);
    const Weights<S> weights(a, static_cast<const typename S::P*>(a.mask) + first);
    const typename S::P* offset = static_cast<const typename S::P*>(a.offset) + 2 * first;
    const typename S::T* plane = static_cast<const typename S::T*>(a.value) + plane_start<S>(a, place.image, place.group);
    typename S::T* output = static_cast<typename S::T*>(a.output) + static_cast<long long>(pixel_group) * S::CHANNELS;
    for (int chunk = thread % S::LANES; chunk < S::CHUNKS; chunk += S::LANES) {
        typename S::A sum[S::VECTOR] = {};
        Walk<S> walk;
#pragma unroll(S::UNROLLED ? S::POINTS : 1)
        for (int q = 0; q < points<S>(a); ++q, walk.step(a)) {
            walk.skip_removed(a, q);
            const Sample<S> point = sample<S>(a, place, walk, offset + 2 * q);
            if (point.inside) add_point<S>(a, sum, point, plane + chunk * S::VECTOR, weights(q));
        }
        store(output + chunk * S::VECTOR, sum);
    }
}

}  // namespace dcnv3
