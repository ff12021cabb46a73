// Runs the CPU kernels on drawn geometries and inputs, without PyTorch and under sanitizers, and compares with plain loops.
//
//   operator_driver FIRST COUNT
//
// Cases are numbered; a number makes its case again, alone.

#include <cstdio>
#include <cstdlib>
#include <new>
#include <random>
#include <string>
#include <thread>

#include "dispatch.h"
#include "naive_operator.h"

namespace {

using dcnv3::Problem;
using dcnv3::Rows;
using dcnv3::Type;

constexpr double kLimit = std::numeric_limits<double>::infinity();

class Draw {
 public:
  explicit Draw(uint64_t seed) : engine_(seed) {}

  int64_t whole(int64_t least, int64_t most) { return least + int64_t(engine_() % uint64_t(most - least + 1)); }
  bool chance(int percent) { return whole(1, 100) <= percent; }
  double normal() { return normal_(engine_); }
  template <class T>
  T among(std::initializer_list<T> choices) {
    return choices.begin()[whole(0, int64_t(choices.size()) - 1)];
  }

 private:
  std::mt19937_64 engine_;
  std::normal_distribution<double> normal_;
};

template <class Body>
auto with_type(Type type, Body body) {
  switch (type) {
    case Type::float32: return body(float{});
    case Type::float64: return body(double{});
    case Type::bfloat16: return body(dcnv3::BFloat16{});
    default: return body(dcnv3::Half{});
  }
}

// A tensor that ends where its allocation ends, so that a sanitizer sees a step beyond. Its first element may stand anywhere that its
// type allows. Until it is written, every element is NaN.
class Memory {
 public:
  Memory(Type type, int64_t count, Draw& draw) : type(type), count(count), item_(with_type(type, [](auto x) { return sizeof x; })) {
    const size_t shift = draw.whole(0, 1) * item_;
    block_ = static_cast<char*>(std::malloc(shift + count * item_));
    data = block_ + shift;
    std::memset(block_, 0xff, shift + count * item_);
  }
  Memory(const Memory&) = delete;
  ~Memory() { std::free(block_); }

  double get(int64_t i) const {
    return with_type(type, [&](auto x) { return std::memcpy(&x, data + i * item_, sizeof x), double(x); });
  }
  void set(int64_t i, double number) {
    with_type(type, [&](auto x) { x = decltype(x)(number), std::memcpy(data + i * item_, &x, sizeof x); });
  }

  const Type type;
  const int64_t count;
  char* data;

 private:
  size_t item_;
  char* block_;
};

enum class Offsets { ordinary, whole, rim, astray, mixed };
enum class Logits { ordinary, uneven, huge, excluded, broken };

struct Case {
  Problem problem;
  Type value, offset, mask;
  Offsets offsets;
  Logits logits;
};

int64_t outputs(int64_t size, int64_t kernel, int64_t stride, int64_t pad, int64_t dilation) {
  const int64_t room = size + 2 * pad - (dilation * (kernel - 1) + 1);
  return room < 0 ? 0 : room / stride + 1;
}

Problem draw_problem(Draw& draw) {
  Problem p;
  const bool wide = draw.chance(8);  // up to the most points that a batch holds
  const int64_t least = wide ? 8 : 1, most = wide ? 12 : draw.among({3, 5, 7}), pad = wide ? 9 : 4, dilation = wide ? 1 : 3;
  p.images = draw.whole(1, 3), p.height = draw.whole(1, 9), p.width = draw.whole(1, 9);
  p.kernel_h = draw.whole(least, most), p.kernel_w = draw.chance(40) ? p.kernel_h : draw.whole(least, most);
  if (!wide && draw.chance(25)) p.kernel_h = p.kernel_w = 3;
  p.stride_h = draw.whole(1, 3), p.stride_w = draw.whole(1, 3);
  p.pad_h = draw.whole(0, pad), p.pad_w = draw.whole(0, pad);
  p.dilation_h = draw.whole(1, dilation), p.dilation_w = draw.whole(1, dilation);
  p.out_height = outputs(p.height, p.kernel_h, p.stride_h, p.pad_h, p.dilation_h);
  p.out_width = outputs(p.width, p.kernel_w, p.stride_w, p.pad_w, p.dilation_w);
  p.groups = draw.whole(1, 6), p.channels = p.groups * draw.among({1, 2, 3, 4, 5, 8, 12, 16, 17, 32, 33, 40, 64});
  p.offset_scale = draw.among({0.5, 1.0, 1.0, 1.25, 2.0, -1.0});
  p.remove_center = p.kernel_h * p.kernel_w % 2 && p.kernel_h * p.kernel_w > 1 && draw.chance(30);
  p.softmax = draw.chance(70);
  p.threads = draw.whole(1, 3);
  return p;
}

Case draw_case(Draw& draw) {
  const auto type = [&] { return draw.among({Type::float32, Type::float64, Type::bfloat16, Type::float16}); };
  Case c{draw_problem(draw), type(), type(), type(), Offsets(draw.whole(0, 4)), Logits(draw.whole(0, 4))};
  const Problem& p = c.problem;
  const int64_t work = p.images * p.pixels() * p.channels * p.points();
  return work > 0 && work <= 200'000 ? c : draw_case(draw);  // none, or more than a test has time for: another
}

// Numbers of few binary digits: locations are then the same in every precision, and so is the pixel that they fall into.
double draw_offset(Draw& draw, Offsets kind, const Problem& p, double base, int64_t size) {
  switch (kind) {
    case Offsets::ordinary: return std::round(1.5 * draw.normal() * 64) / 64;
    case Offsets::whole: return double(draw.whole(-3, 3));
    case Offsets::rim: return std::round((double(draw.among({int64_t(-1), int64_t(0), size - 1, size})) - base) / p.offset_scale * 64) / 64;
    case Offsets::astray: return draw.chance(50) ? draw_offset(draw, Offsets::ordinary, p, base, size)
                                                 : draw.among({kLimit, -kLimit, naive::kNone, 3e4, -3e4, 1e30, -1e30});
    default: return draw_offset(draw, Offsets(draw.whole(0, 3)), p, base, size);
  }
}

double draw_logit(Draw& draw, Logits kind, int64_t pixel_group) {
  const double logit = 2 * draw.normal();
  switch (kind) {
    case Logits::uneven: return logit + 35 * double(pixel_group % 3 - 1);
    case Logits::huge: return draw.chance(20) ? draw.among({1e4, -1e4}) : logit;
    case Logits::excluded: return draw.chance(30) ? -kLimit : logit;
    case Logits::broken:
      if (draw.chance(3)) return draw.chance(10) ? kLimit : naive::kNone;
      return draw.chance(3) ? 100 : logit;  // outstanding, perhaps behind the NaN of a neighbour
    default: return logit;
  }
}

struct Tensors {
  Memory value, offset, mask, grad, out, grad_value, grad_offset, grad_mask;

  Tensors(const Case& c, Draw& draw, int64_t plane, int64_t outputs, int64_t points)
      : value(c.value, plane, draw), offset(c.offset, 2 * points, draw), mask(c.mask, points, draw), grad(c.value, outputs, draw),
        out(c.value, outputs, draw), grad_value(c.value, plane, draw), grad_offset(c.offset, 2 * points, draw),
        grad_mask(c.mask, points, draw) {
    const Problem& p = c.problem;
    for (int64_t i = 0; i < value.count; ++i) value.set(i, draw.normal());
    for (int64_t i = 0; i < grad.count; ++i) grad.set(i, draw.normal());
    for (int64_t i = 0; i < points; ++i) {
      const int64_t step = naive::point_number(p, i % p.points()), pixel = i / p.points() / p.groups % p.pixels();
      const double x = naive::across(p).location(pixel % p.out_width, step / p.kernel_h, 0, p.offset_scale);
      const double y = naive::down(p).location(pixel / p.out_width, step % p.kernel_h, 0, p.offset_scale);
      offset.set(2 * i, draw_offset(draw, c.offsets, p, x, p.width));
      offset.set(2 * i + 1, draw_offset(draw, c.offsets, p, y, p.height));
      mask.set(i, draw_logit(draw, c.logits, i / p.points()));
    }
  }
};

// Jobs in two runs, each in a thread of its own: a thread's memory is then as large as these jobs need, and no larger.
template <class Kernel>
void in_two_runs(const Problem& p, int points, Draw& draw, Kernel kernel) {
  const int64_t jobs = p.images * p.groups / dcnv3::Tiling(p, points).groups, first_jobs = draw.whole(1, jobs);
  std::thread(kernel, 0, first_jobs).join();
  std::thread(kernel, first_jobs, jobs).join();
}

template <class S>
void run(const Problem& p, const Tensors& t, Draw& draw) {
  const auto rows = [](const Memory& memory) { return Rows<S>(memory.data, memory.type); };
  const dcnv3::ForwardTensors<S> there{rows(t.value), rows(t.offset), rows(t.mask), rows(t.out)};
  const dcnv3::BackwardTensors<S> back{rows(t.grad),       rows(t.value),       rows(t.offset),   rows(t.mask),
                                       rows(t.grad_value), rows(t.grad_offset), rows(t.grad_mask)};
  dcnv3::choose<S>(p, [&](auto lanes, auto vectors, auto points) {
    const auto forward = dcnv3::forward<S, lanes, vectors, points>;
    const auto backward = dcnv3::backward<S, lanes, vectors, points>;
    in_two_runs(p, dcnv3::kForwardPoints, draw, [&](int64_t first, int64_t last) { forward(p, there, first, last); });
    in_two_runs(p, dcnv3::kBackwardPoints, draw, [&](int64_t first, int64_t last) { backward(p, back, first, last); });
  });
}

// What the kernel computes with: numbers as stored, in the type of its sums.
std::vector<double> numbers(const Memory& memory, bool in_double) {
  std::vector<double> found(memory.count);
  for (int64_t i = 0; i < memory.count; ++i) found[i] = in_double ? memory.get(i) : double(float(memory.get(i)));
  return found;
}

bool agrees(double found, const naive::Sum& expected, Type type, bool in_double) {
  const double rounding = type == Type::bfloat16 ? 0x1p-8 : type == Type::float16 ? 0x1p-11 : type == Type::float32 ? 0x1p-23 : 0;
  const double least = type == Type::float16 ? 0x1p-24 : 1e-30;
  if (std::isnan(expected.size) || (type == Type::float16 && std::abs(expected.value) > 65000)) return true;
  if (std::isnan(expected.value)) return std::isnan(found);
  return std::abs(found - expected.value) <= (in_double ? 1e-12 : 1e-5) * expected.size + rounding * std::abs(expected.value) + least;
}

bool all_agree(const char* name, const Memory& found, const std::vector<naive::Sum>& expected, bool in_double) {
  for (int64_t i = 0; i < found.count; ++i)
    if (!agrees(found.get(i), expected[i], found.type, in_double)) {
      std::printf("%s[%ld] is %.9g, not %.9g (terms of %.3g)\n", name, long(i), found.get(i), expected[i].value, expected[i].size);
      return false;
    }
  return true;
}

std::string described(const Case& c) {
  const Problem& p = c.problem;
  char text[400];
  std::snprintf(text, sizeof text,
                "images %ld, size %ld x %ld, outputs %ld x %ld, kernel %ld x %ld, stride %ld x %ld, padding %ld x %ld, dilation %ld x %ld, "
                "groups %ld of %ld channels, scale %g, center removed %d, softmax %d, types %d %d %d, offsets %d, logits %d",
                long(p.images), long(p.height), long(p.width), long(p.out_height), long(p.out_width), long(p.kernel_h), long(p.kernel_w),
                long(p.stride_h), long(p.stride_w), long(p.pad_h), long(p.pad_w), long(p.dilation_h), long(p.dilation_w), long(p.groups),
                long(p.group_channels()), p.offset_scale, p.remove_center, p.softmax, int(c.value), int(c.offset), int(c.mask),
                int(c.offsets), int(c.logits));
  return text;
}

bool passes(const Case& c, Draw& draw) {
  const Problem& p = c.problem;
  const int64_t pixels = p.images * p.pixels();
  const Tensors t(c, draw, p.images * p.height * p.width * p.channels, pixels * p.channels, pixels * p.groups * p.points());
  const bool in_double = c.value == Type::float64;
  in_double ? run<double>(p, t, draw) : run<float>(p, t, draw);
  const auto read = [&](const Memory& memory) { return numbers(memory, in_double); };
  const naive::Inputs inputs{read(t.value), read(t.offset), read(t.mask), read(t.grad)};
  const naive::Results expected = naive::Operator(p, inputs).run();
  return all_agree("out", t.out, expected.out, in_double) && all_agree("grad_value", t.grad_value, expected.grad_value, in_double) &&
         all_agree("grad_offset", t.grad_offset, expected.grad_offset, in_double) &&
         all_agree("grad_mask", t.grad_mask, expected.grad_mask, in_double);
}

}  // namespace

int main(int, char** arguments) {
  const long first = std::atol(arguments[1]), count = std::atol(arguments[2]);
  for (long number = first; number < first + count; ++number) {
    Draw draw(number);
    const Case c = draw_case(draw);
    std::fprintf(stderr, "case %ld: %s\n", number, described(c).c_str());
    if (!passes(c, draw)) return 1;
  }
  std::printf("%ld cases passed\n", count);
}
