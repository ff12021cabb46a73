// What one call of the operator is: sizes, lattice and the types of its tensors.
#pragma once

#include <algorithm>
#include <cstdint>

namespace dcnv3 {

enum class Type { float32, float64, bfloat16, float16 };

struct Problem {
  int64_t images, height, width, channels;  // of value
  int64_t out_height, out_width;
  int64_t kernel_h, kernel_w, stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w;
  int64_t groups;
  double offset_scale;
  bool remove_center, softmax;
  int64_t threads = 1;  // that share the work

  int64_t points() const { return kernel_h * kernel_w - remove_center; }
  int64_t group_channels() const { return channels / groups; }
  int64_t pixels() const { return out_height * out_width; }
};

}  // namespace dcnv3
