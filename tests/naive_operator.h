// DCNv3 and its gradients in plain loops and double precision, written from the formulas: what kernels are compared with.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "problem.h"

namespace naive {

using dcnv3::Problem;

// A sum, and what its factors amount to without signs and shares: kernels subtract shares of a weight from it, so rounding errors are
// measured by the whole. NaN there: the value means nothing.
struct Sum {
  double value = 0, size = 0;

  void add(double factor, double share) {
    value += factor * share;
    size += std::abs(factor);
  }
};

struct Inputs {
  std::vector<double> value, offset, mask, grad;
};

struct Results {
  std::vector<Sum> out, grad_value, grad_offset, grad_mask;
};

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

// One direction of a kernel, as the formulas name it.
struct Direction {
  int64_t kernel, stride, pad, dilation, size;

  // Where point `step` of output `at` is sampled, `shift` away from its place.
  double location(int64_t at, int64_t step, double shift, double scale) const {
    const int64_t center = dilation * (kernel - 1) / 2;
    return double(center - pad + at * stride) - double(center) * scale + (double(step * dilation) + shift) * scale;
  }
};

inline Direction across(const Problem& p) { return {p.kernel_w, p.stride_w, p.pad_w, p.dilation_w, p.width}; }
inline Direction down(const Problem& p) { return {p.kernel_h, p.stride_h, p.pad_h, p.dilation_h, p.height}; }

// The k-th point that is left when the centre may be removed; point = x step · kernel height + y step.
inline int64_t point_number(const Problem& p, int64_t k) {
  return k + (p.remove_center && k >= p.kernel_h * p.kernel_w / 2);
}

// Two neighbours along one direction, their shares, and how these change with the location.
struct Neighbours {
  int64_t at[2];
  double share[2], slope[2];
  bool counts[2];

  Neighbours(double location, int64_t size) : slope{-1, 1} {
    const bool inside = location > -1 && location < double(size);  // false for NaN
    const double before = inside ? std::floor(location) : 0;
    for (int i = 0; i < 2; ++i) {
      at[i] = int64_t(before) + i;
      share[i] = i ? location - before : 1 - (location - before);
      counts[i] = inside && at[i] >= 0 && at[i] < size;
    }
  }
};

class Operator {
 public:
  Operator(const Problem& problem, const Inputs& inputs) : p(problem), in(inputs) {
    results.out.resize(p.images * p.pixels() * p.channels);
    results.grad_value.resize(in.value.size());
    results.grad_offset.resize(in.offset.size());
    results.grad_mask.resize(in.mask.size());
  }

  Results run() {
    for (int64_t image = 0; image < p.images; ++image)
      for (int64_t pixel = 0; pixel < p.pixels(); ++pixel)
        for (int64_t group = 0; group < p.groups; ++group) pixel_group(image, pixel, group);
    return results;
  }

 private:
  void pixel_group(int64_t image, int64_t pixel, int64_t group) {
    const int64_t number = (image * p.pixels() + pixel) * p.groups + group;
    const std::vector<double> weights = weights_of(number);
    for (const double weight : weights)
      if (!std::isfinite(weight)) return spoil(image, group, number);
    std::vector<Sum> dots(p.points());
    for (int64_t k = 0; k < p.points(); ++k) dots[k] = point(image, pixel, group, number, k, weights[k]);
    Sum mean;
    if (p.softmax)
      for (int64_t k = 0; k < p.points(); ++k) mean.value += weights[k] * dots[k].value, mean.size += weights[k] * dots[k].size;
    for (int64_t k = 0; k < p.points(); ++k) {
      const double factor = p.softmax ? weights[k] : 1;
      results.grad_mask[number * p.points() + k] = {factor * (dots[k].value - mean.value), std::abs(factor) * (dots[k].size + mean.size)};
    }
  }

  std::vector<double> weights_of(int64_t number) const {
    const double* from = in.mask.data() + number * p.points();
    std::vector<double> weights(from, from + p.points());
    if (!p.softmax) return weights;
    double most = -std::numeric_limits<double>::infinity(), sum = 0;
    for (const double logit : weights) most = std::fmax(most, logit);
    for (double& weight : weights) sum += weight = std::exp(weight - most);
    for (double& weight : weights) weight /= sum;
    return weights;
  }

  // A weight that is no number: with a softmax it makes its pixel-group's output none, and nothing is asked of the rest that it reaches.
  void spoil(int64_t image, int64_t group, int64_t number) {
    const int64_t channels = p.group_channels(), points = p.points(), pixels = p.height * p.width;
    for (int64_t c = 0; c < channels; ++c) results.out[number * channels + c] = {kNone, p.softmax ? 0 : kNone};
    for (int64_t k = 0; k < points; ++k) results.grad_mask[number * points + k].size = kNone;
    for (int64_t k = 0; k < 2 * points; ++k) results.grad_offset[number * 2 * points + k].size = kNone;
    for (int64_t cell = image * pixels; cell < (image + 1) * pixels; ++cell)
      for (int64_t c = 0; c < channels; ++c) results.grad_value[cell * p.channels + group * channels + c].size = kNone;
  }

  // What the k-th point adds to the output, to the value's gradient and to its offset's; returned: its mask's gradient.
  Sum point(int64_t image, int64_t pixel, int64_t group, int64_t number, int64_t k, double weight) {
    const int64_t step = point_number(p, k), channels = p.group_channels(), pair = (number * p.points() + k) * 2;
    const Neighbours x(across(p).location(pixel % p.out_width, step / p.kernel_h, in.offset[pair], p.offset_scale), p.width);
    const Neighbours y(down(p).location(pixel / p.out_width, step % p.kernel_h, in.offset[pair + 1], p.offset_scale), p.height);
    Sum dot, slope_x, slope_y;
    for (int i = 0; i < 4; ++i) {
      const int left = i % 2, top = i / 2;
      if (!x.counts[left] || !y.counts[top]) continue;
      const int64_t cell = ((image * p.height + y.at[top]) * p.width + x.at[left]) * p.channels + group * channels;
      const double share = x.share[left] * y.share[top];
      for (int64_t c = 0; c < channels; ++c) {
        const double value = in.value[cell + c], grad = in.grad[number * channels + c];
        results.out[number * channels + c].add(weight * value, share);
        results.grad_value[cell + c].add(weight * grad, share);
        dot.add(grad * value, share);
        slope_x.add(weight * p.offset_scale * grad * value, x.slope[left] * y.share[top]);
        slope_y.add(weight * p.offset_scale * grad * value, y.slope[top] * x.share[left]);
      }
    }
    results.grad_offset[pair] = slope_x;
    results.grad_offset[pair + 1] = slope_y;
    return dot;
  }

  const Problem& p;
  const Inputs& in;
  Results results;
};

}  // namespace naive
