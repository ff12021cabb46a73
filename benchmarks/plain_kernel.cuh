// The published way to run DCNv3, to measure ours against: a thread for every channel, elements one by one, additions one by one.
// -DTYPE names the element type, -DGROUP_CHANNELS the channels of a group. Masks are finished weights: the softmax is a separate pass in this scheme.
#include "sampling.cuh"

namespace plain {

using dcnv3::Arguments;
using dcnv3::Axis;
using Element = dcnv3::TYPE;

__device__ float number(const void* tensor, long long index) { return dcnv3::widen(static_cast<const Element*>(tensor)[index]); }

__device__ void put(void* tensor, long long index, float result) { static_cast<Element*>(tensor)[index] = dcnv3::convert<Element>(result); }

// Where an output pixel samples, and the four pixels around: -1 for those beyond the plane.
struct Point {
    float right, below;
    long long cell[4];
    bool inside;

    __device__ Point(const Arguments& a, int ox, int oy, int i, int j, float dx, float dy) {
        const float s = static_cast<float>(a.offset_scale);
        const float x = a.x.origin + ox * a.x.stride + (i * a.x.dilation - a.x.center + dx) * s;
        const float y = a.y.origin + oy * a.y.stride + (j * a.y.dilation - a.y.center + dy) * s;
        inside = x > -1 && y > -1 && x < a.x.size && y < a.y.size;
        if (!inside) return;
        const int column = static_cast<int>(floorf(x)), row = static_cast<int>(floorf(y));
        right = x - column, below = y - row;
        for (int corner = 0; corner < 4; ++corner) {
            const int cx = column + corner % 2, cy = row + corner / 2;
            const bool known = cx >= 0 && cy >= 0 && cx < a.x.size && cy < a.y.size;
            cell[corner] = known ? static_cast<long long>(cy) * a.x.size + cx : -1;
        }
    }

    __device__ float weight(int corner) const { return (corner % 2 ? right : 1 - right) * (corner / 2 ? below : 1 - below); }
    __device__ float slope_x(int corner) const { return (corner % 2 ? 1.0f : -1.0f) * (corner / 2 ? below : 1 - below); }
    __device__ float slope_y(int corner) const { return (corner / 2 ? 1.0f : -1.0f) * (corner % 2 ? right : 1 - right); }
};

__device__ Point point(const Arguments& a, long long pixel_group, int q) {
    const long long pixel = pixel_group / a.groups, first = (pixel_group * a.points + q) * 2;
    const int ox = static_cast<int>(pixel % a.x.outputs), oy = static_cast<int>(pixel / a.x.outputs % a.y.outputs);
    return Point(a, ox, oy, q / a.y.kernel, q % a.y.kernel, number(a.offset, first), number(a.offset, first + 1));
}

// Index of a channel of a pixel of the input.
__device__ long long element(const Arguments& a, long long pixel_group, long long cell, int channels, int channel) {
    const long long image = pixel_group / a.groups / a.x.outputs / a.y.outputs;
    return ((image * a.x.size * a.y.size + cell) * a.groups + pixel_group % a.groups) * channels + channel;
}

}  // namespace plain

extern "C" __global__ void plain_forward(const __grid_constant__ dcnv3::Arguments a) {
    using namespace plain;
    const long long index = static_cast<long long>(blockIdx.x) * blockDim.x + threadIdx.x, pixel_group = index / GROUP_CHANNELS;
    if (pixel_group >= a.pixel_groups) return;
    float sum = 0;
    for (int q = 0; q < a.points; ++q) {
        const Point at = point(a, pixel_group, q);
        if (!at.inside) continue;
        const float weight = number(a.mask, pixel_group * a.points + q);
        for (int corner = 0; corner < 4; ++corner)
            if (at.cell[corner] >= 0)
                sum += weight * at.weight(corner) * number(a.value, element(a, pixel_group, at.cell[corner], GROUP_CHANNELS, index % GROUP_CHANNELS));
    }
    put(a.output, index, sum);
}

// A block of GROUP_CHANNELS threads for every pixel and group; the first thread sums what the others leave in shared memory.
extern "C" __global__ void plain_backward(const __grid_constant__ dcnv3::Arguments a) {
    using namespace plain;
    __shared__ float slopes[3][GROUP_CHANNELS];
    const long long pixel_group = blockIdx.x;
    const int channel = threadIdx.x;
    const float grad = number(a.grad, pixel_group * GROUP_CHANNELS + channel);
    for (int q = 0; q < a.points; ++q) {
        const Point at = point(a, pixel_group, q);
        const float weight = number(a.mask, pixel_group * a.points + q);
        float to_x = 0, to_y = 0, to_mask = 0;
        for (int corner = 0; at.inside && corner < 4; ++corner) {
            if (at.cell[corner] < 0) continue;
            const long long pixel = element(a, pixel_group, at.cell[corner], GROUP_CHANNELS, channel);
            const float product = grad * number(a.value, pixel);
            atomicAdd(static_cast<float*>(a.d_value) + pixel, grad * weight * at.weight(corner));
            to_mask += product * at.weight(corner);
            to_x += product * weight * at.slope_x(corner);
            to_y += product * weight * at.slope_y(corner);
        }
        slopes[0][channel] = to_x, slopes[1][channel] = to_y, slopes[2][channel] = to_mask;
        __syncthreads();
        if (channel == 0) {
            float sums[3] = {};
            for (int c = 0; c < GROUP_CHANNELS; ++c)
                for (int kind = 0; kind < 3; ++kind) sums[kind] += slopes[kind][c];
            const float s = static_cast<float>(a.offset_scale);
            put(a.d_offset, (pixel_group * a.points + q) * 2, s * sums[0]);
            put(a.d_offset, (pixel_group * a.points + q) * 2 + 1, s * sums[1]);
            put(a.d_mask, pixel_group * a.points + q, sums[2]);
        }
        __syncthreads();
    }
}
