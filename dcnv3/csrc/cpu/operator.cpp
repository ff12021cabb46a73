// The CPU kernels as operators of PyTorch, through its stable interface: built once, for any release from 2.10 on.
//
// Loading the library defines forward and backward in DCNV3_NAMESPACE, a name of this instruction set; calling dcnv3_activate makes them
// the CPU implementation of dcnv3::forward and dcnv3::backward.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <array>
#include <atomic>
#include <cstdint>
#include <new>
#include <tuple>
#include <vector>

#include "dispatch.h"

namespace {

using dcnv3::Problem;
using dcnv3::Rows;
using dcnv3::Type;
using torch::headeronly::ScalarType;
using torch::stable::Tensor;
using Pair = std::vector<int64_t>;

Type type_of(const Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case ScalarType::Float: return Type::float32;
    case ScalarType::Double: return Type::float64;
    case ScalarType::BFloat16: return Type::bfloat16;
    case ScalarType::Half: return Type::float16;
    default: STD_TORCH_CHECK(false, "dcnv3 takes float32, float64, bfloat16 and float16 tensors");
  }
}

// Whoever asks the dispatcher by name waits longer than a small call takes: only what is not dense goes there.
Tensor dense(const Tensor& tensor) { return tensor.is_contiguous() ? tensor : torch::stable::contiguous(tensor); }

// A dense tensor of the type of `like`, not yet written.
Tensor fresh(const Tensor& like, const std::array<int64_t, 4>& sizes) {
  const std::array<int64_t, 4> strides{sizes[1] * sizes[2] * sizes[3], sizes[2] * sizes[3], sizes[3], 1};
  int32_t type;
  AtenTensorHandle made;
  TORCH_ERROR_CODE_CHECK(aoti_torch_get_dtype(like.get(), &type));
  TORCH_ERROR_CODE_CHECK(aoti_torch_empty_strided(4, sizes.data(), strides.data(), type, aoti_torch_device_type_cpu(), 0, &made));
  return Tensor(made);
}

Tensor fresh(const Tensor& like) { return fresh(like, {like.size(0), like.size(1), like.size(2), like.size(3)}); }

template <class S>
Rows<S> rows(const Tensor& tensor) {
  return Rows<S>(tensor.data_ptr(), type_of(tensor));
}

// The entrance from Python has checked every argument and speaks better; this guards memory against whoever calls the operator itself.
void check(const Problem& p, const Tensor& offset, const Tensor& mask) {
  STD_TORCH_CHECK(p.groups > 0 && p.channels % p.groups == 0, "dcnv3: groups must divide value's channels");
  STD_TORCH_CHECK(p.points() > 0 && p.points() <= dcnv3::kBackwardPoints, "dcnv3: kernel_size is too large");
  STD_TORCH_CHECK((p.height + 2) * (p.width + 2) < INT32_MAX, "dcnv3: a plane of value has too many pixels");
  const auto fits = [&](const Tensor& tensor, int64_t last) {
    return tensor.dim() == 4 && tensor.size(0) == p.images && tensor.size(1) == p.out_height && tensor.size(2) == p.out_width && tensor.size(3) == last;
  };
  STD_TORCH_CHECK(fits(offset, 2 * p.groups * p.points()), "dcnv3: offset must be (N, Ho, Wo, G*K*2)");
  STD_TORCH_CHECK(fits(mask, p.groups * p.points()), "dcnv3: mask must be (N, Ho, Wo, G*K)");
}

Problem problem_of(const Tensor& value, const Tensor& offset, const Tensor& mask, const Pair& kernel_size, const Pair& stride,
                   const Pair& padding, const Pair& dilation, int64_t groups, double offset_scale, bool remove_center, bool softmax) {
  STD_TORCH_CHECK(value.dim() == 4 && offset.dim() == 4, "dcnv3: value and offset must have 4 dimensions");
  const Problem p{value.size(0),  value.size(1),  value.size(2),  value.size(3), offset.size(1), offset.size(2), kernel_size[0],
                  kernel_size[1], stride[0],      stride[1],      padding[0],    padding[1],     dilation[0],    dilation[1],
                  groups,         offset_scale,   remove_center,  softmax,       torch::stable::get_num_threads()};
  check(p, offset, mask);
  return p;
}

// Threads are worth waking for about this many pixel-groups each.
constexpr int64_t kGrain = 256;

template <class Tensors, class Kernel>
void over_jobs(const Problem& p, int points, const Tensors& tensors, Kernel kernel) {
  const int64_t groups = dcnv3::Tiling(p, points).groups;
  std::atomic<bool> exhausted = false;
  torch::stable::parallel_for(0, p.images * p.groups / groups, std::max<int64_t>(1, kGrain / (p.pixels() * groups)),
                              [&](int64_t first, int64_t last) {
                                try {
                                  kernel(p, tensors, first, last);
                                } catch (const std::bad_alloc&) {  // no exception may leave a thread of the pool
                                  exhausted = true;
                                }
                              });
  STD_TORCH_CHECK(!exhausted, "dcnv3: not enough memory for a bordered copy of one plane of value");
}

template <class S>
void run_forward(const Problem& p, const Tensor& value, const Tensor& offset, const Tensor& mask, const Tensor& out) {
  const dcnv3::ForwardTensors<S> tensors{rows<S>(value), rows<S>(offset), rows<S>(mask), rows<S>(out)};
  dcnv3::choose<S>(p, [&](auto lanes, auto vectors, auto points) { over_jobs(p, dcnv3::kForwardPoints, tensors, dcnv3::forward<S, lanes, vectors, points>); });
}

Tensor forward(const Tensor& value_, const Tensor& offset_, const Tensor& mask_, const Pair& kernel_size, const Pair& stride,
               const Pair& padding, const Pair& dilation, int64_t groups, double offset_scale, bool remove_center, bool softmax) {
  const Tensor value = dense(value_), offset = dense(offset_), mask = dense(mask_);
  const Problem p = problem_of(value, offset, mask, kernel_size, stride, padding, dilation, groups, offset_scale, remove_center, softmax);
  Tensor out = fresh(value, {p.images, p.out_height, p.out_width, p.channels});
  if (out.numel() == 0) return out;  // no images
  const auto run = type_of(value) == Type::float64 ? run_forward<double> : run_forward<float>;
  run(p, value, offset, mask, out);
  return out;
}

template <class S>
void run_backward(const Problem& p, const Tensor& grad, const Tensor& value, const Tensor& offset, const Tensor& mask,
                  const Tensor& grad_value, const Tensor& grad_offset, const Tensor& grad_mask) {
  const dcnv3::BackwardTensors<S> tensors{rows<S>(grad),       rows<S>(value),       rows<S>(offset),   rows<S>(mask),
                                          rows<S>(grad_value), rows<S>(grad_offset), rows<S>(grad_mask)};
  dcnv3::choose<S>(p, [&](auto lanes, auto vectors, auto points) { over_jobs(p, dcnv3::kBackwardPoints, tensors, dcnv3::backward<S, lanes, vectors, points>); });
}

std::tuple<Tensor, Tensor, Tensor> backward(const Tensor& grad_, const Tensor& value_, const Tensor& offset_, const Tensor& mask_,
                                            const Pair& kernel_size, const Pair& stride, const Pair& padding, const Pair& dilation,
                                            int64_t groups, double offset_scale, bool remove_center, bool softmax) {
  const Tensor grad = dense(grad_), value = dense(value_), offset = dense(offset_), mask = dense(mask_);
  const Problem p = problem_of(value, offset, mask, kernel_size, stride, padding, dilation, groups, offset_scale, remove_center, softmax);
  STD_TORCH_CHECK(grad.numel() == p.images * p.pixels() * p.channels, "dcnv3: grad must be (N, Ho, Wo, C)");
  Tensor grad_value = fresh(value), grad_offset = fresh(offset), grad_mask = fresh(mask);
  if (p.images * p.pixels() == 0) return {torch::stable::zero_(grad_value), grad_offset, grad_mask};
  const auto run = type_of(value) == Type::float64 ? run_backward<double> : run_backward<float>;
  run(p, grad, value, offset, mask, grad_value, grad_offset, grad_mask);
  return {grad_value, grad_offset, grad_mask};
}

}  // namespace

#define GEOMETRY "int[2] kernel_size, int[2] stride, int[2] padding, int[2] dilation, int groups, float offset_scale, bool remove_center, bool softmax"
#define DEFINE_IN(space) STABLE_TORCH_LIBRARY(space, library)
#define IMPLEMENT_IN(space) STABLE_TORCH_LIBRARY_IMPL(space, CPU, library)

static void implement(torch::stable::detail::StableLibrary& library) {
  library.impl("forward", TORCH_BOX(&forward));
  library.impl("backward", TORCH_BOX(&backward));
}

DEFINE_IN(DCNV3_NAMESPACE) {
  library.def("forward(Tensor value, Tensor offset, Tensor mask, " GEOMETRY ") -> Tensor");
  library.def("backward(Tensor grad, Tensor value, Tensor offset, Tensor mask, " GEOMETRY ") -> (Tensor, Tensor, Tensor)");
}

IMPLEMENT_IN(DCNV3_NAMESPACE) { implement(library); }

extern "C" __attribute__((visibility("default"))) void dcnv3_activate() {
  using namespace torch::stable::detail;
  static StableTorchLibraryInit registration(StableLibrary::Kind::IMPL, &implement, "dcnv3", "CPU", __FILE__, __LINE__);
}
