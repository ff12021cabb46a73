// Storage types, and copies between a tensor's rows and rows of the type that sums are formed in.
#pragma once

#include <torch/headeronly/util/BFloat16.h>
#include <torch/headeronly/util/Half.h>

#include "problem.h"
#include "vector.h"

namespace dcnv3 {

using BFloat16 = c10::BFloat16;
using Half = c10::Half;

// Runs of `length` numbers: `count` of them, the strides apart, and that `times` over, the jumps apart.
struct Runs {
  int64_t count, length, from_stride, to_stride;
  int64_t times = 1, from_jump = 0, to_jump = 0;

  Runs reversed() const { return {count, length, to_stride, from_stride, times, to_jump, from_jump}; }
};

template <class To, class From>
inline void copy_run(const From* from, To* to, int64_t length) {
  if constexpr (std::is_same_v<To, From>) {
    std::memcpy(to, from, length * sizeof(To));
  } else {
    for (int64_t i = 0; i < length; ++i) to[i] = static_cast<To>(from[i]);
  }
}

template <class To, class From>
void copy_runs(const void* from, void* to, Runs runs) {
  if (runs.from_stride == runs.length && runs.to_stride == runs.length) runs.length *= runs.count, runs.count = 1;
  const From* source = static_cast<const From*>(from);
  To* target = static_cast<To*>(to);
  const auto each = [&](auto length) {
    for (int64_t j = 0; j < runs.times; ++j)
      for (int64_t i = 0; i < runs.count; ++i)
        copy_run(source + j * runs.from_jump + i * runs.from_stride, target + j * runs.to_jump + i * runs.to_stride, length);
  };
  switch (runs.length) {  // lengths known to the compiler become a few wide moves
    case 4: return each(std::integral_constant<int64_t, 4>{});
    case 8: return each(std::integral_constant<int64_t, 8>{});
    case 9: return each(std::integral_constant<int64_t, 9>{});
    case 16: return each(std::integral_constant<int64_t, 16>{});
    case 18: return each(std::integral_constant<int64_t, 18>{});
    case 32: return each(std::integral_constant<int64_t, 32>{});
    default: return each(runs.length);
  }
}

// A tensor's memory: whoever reads or writes it asks here, so that kernels know one type only.
template <class S>
struct Rows {
  using Copy = void (*)(const void*, void*, Runs);
  char* data;
  int64_t item;  // bytes
  Copy read_runs, write_runs;

  Rows(const void* memory, Type type) : data(static_cast<char*>(const_cast<void*>(memory))) {
    switch (type) {
      case Type::float32: use<float>(); break;
      case Type::float64: use<double>(); break;
      case Type::bfloat16: use<BFloat16>(); break;
      case Type::float16: use<Half>(); break;
    }
  }

  void read(int64_t at, S* to, Runs runs) const { read_runs(data + at * item, to, runs); }
  // Brings the memory of a later read nearer: runs are far apart, and the processor does not foresee them all.
  void prefetch(int64_t at, Runs runs) const {
    for (int64_t i = 0; i < runs.count; ++i) {
      const char* run = data + (at + i * runs.from_stride) * item;
      for (int64_t byte = 0; byte < runs.length * item; byte += 64) __builtin_prefetch(run + byte);
      __builtin_prefetch(run + runs.length * item - 1);
    }
  }

  void write(int64_t at, const S* from, Runs runs) const { write_runs(from, data + at * item, runs); }

 private:
  template <class T>
  void use() {
    item = sizeof(T);
    read_runs = copy_runs<S, T>;
    write_runs = copy_runs<T, S>;
  }
};

}  // namespace dcnv3
