// Short vectors in the compiler's own notation, as wide as the target's registers: one source for every instruction set.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__AVX2__) || defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace dcnv3 {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class S>
constexpr int kLanes = kVectorBytes / sizeof(S);

template <class S>
struct IndexOf;
template <>
struct IndexOf<float> {
  using type = int32_t;
};
template <>
struct IndexOf<double> {
  using type = int64_t;
};

// The whole number as wide as S, so that a vector of either has the same lanes.
template <class S>
using Index = typename IndexOf<S>::type;

template <class S, int L>
struct VectorOf {
  typedef S type __attribute__((vector_size(L * sizeof(S))));
};

template <class S, int L>
using Vector = typename VectorOf<S, L>::type;

template <class S, int L>
inline Vector<S, L> load(const S* from) {
  Vector<S, L> v;
  std::memcpy(&v, from, sizeof v);
  return v;
}

template <class V, class S>
inline void store(S* to, const V& v) {
  std::memcpy(to, &v, sizeof v);
}

template <class S, int L>
inline Vector<S, L> fill(S s) {
  return s - Vector<S, L>{};
}

// The lanes of a and b, taken as one row of 2·L, that a function of the lane's number names.
template <class S, int L, class Source>
inline Vector<S, L> pick(const Vector<S, L>& a, const Vector<S, L>& b, Source) {
  return [&]<int... I>(std::integer_sequence<int, I...>) {
#ifdef __clang__
    return __builtin_shufflevector(a, b, Source{}(I)...);
#else
    return __builtin_shuffle(a, b, Vector<Index<S>, L>{Source{}(I)...});
#endif
  }(std::make_integer_sequence<int, L>{});
}

// Largest whole number not above x, for |x| within Index<S>.
template <class S, int L>
inline Vector<Index<S>, L> floor_index(const Vector<S, L>& x) {
  using Whole = Vector<Index<S>, L>;
  const Whole truncated = __builtin_convertvector(x, Whole);
  return truncated + Whole(__builtin_convertvector(truncated, Vector<S, L>) > x);  // a true comparison is -1
}

// e to the power x for x < 88: 0 where that underflows, NaN for NaN. In float32, a power of two times e to the power of the rest, which is
// taken off in two parts that lose nothing, from the polynomial of least relative error, 7.5e-8.
template <int L>
inline Vector<float, L> exponential(Vector<float, L> x) {
  using V = Vector<float, L>;
  x = x < -88.0f ? fill<float, L>(-88.0f) : x;
  // Truncated: the nearest power, at least 0.
  const auto biased = __builtin_convertvector(x * 1.44269504088896341f + 127.5f, Vector<int32_t, L>);
  const V whole = __builtin_convertvector(biased, V) - 127.0f;
  const V r = (x - whole * 0.693359375f) + whole * 2.12194440e-4f;
  V p = fill<float, L>(0.0082976551f);
  p = p * r + 0.041915382f;
  p = p * r + 0.16667575f;
  p = p * r + 0.49998895f;
  p = p * r + 0.99999970f;
  p = p * r + 1.0000001f;
  return p * (V)(biased << 23);
}

template <int L>
inline Vector<double, L> exponential(Vector<double, L> x) {
  using V = Vector<double, L>;
  x = x < -708.5 ? fill<double, L>(-708.5) : x;
  const auto biased = __builtin_convertvector(x * 1.4426950408889634 + 1023.5, Vector<int64_t, L>);
  const V n = __builtin_convertvector(biased, V) - 1023.0;
  const V r = (x - n * 0.693147180369123816490) - n * 1.90821492927058770002e-10;  // ln 2 in two parts
  V p = fill<double, L>(1.0 / 6227020800.0);
  double factorial = 6227020800.0;
#pragma GCC unroll 13
  for (int k = 13; k >= 1; --k) {
    factorial /= k;
    p = p * r + 1.0 / factorial;
  }
  return p * (V)(biased << 52);
}

}  // namespace dcnv3
