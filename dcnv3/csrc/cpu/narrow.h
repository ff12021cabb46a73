// Groups of so few channels that a vector holds several neighbours of a point, left and right ones side by side as in the plane.
#pragma once

#include "batch.h"
#include "fold.h"

namespace dcnv3 {

// Whether `width` numbers leave room in a vector for another neighbour.
template <class S, int width>
constexpr bool kNarrow = 2 * width <= kLanes<S>;

#if defined(__AVX2__)
// A row of W numbers over and over, L lanes of it.
template <int L, int W>
inline Vector<float, L> repeat(const float* row) {
  if constexpr (L == 8) return (Vector<float, 8>)_mm256_broadcast_ps(reinterpret_cast<const __m128*>(row));
#if defined(__AVX512F__)
  else if constexpr (W == 4) return (Vector<float, 16>)_mm512_broadcast_f32x4(_mm_loadu_ps(row));
  else return (Vector<float, 16>)_mm512_broadcast_f32x8(_mm256_loadu_ps(row));
#endif
}

// L lanes of four numbers, from the first-th on, W lanes of each.
template <int L, int W, int first>
inline Vector<float, L> stretch(const float* four) {
  const __m128 numbers = _mm_loadu_ps(four);
  if constexpr (L == 8) {
    constexpr int a = first, b = first + 1;
    return (Vector<float, 8>)_mm256_permutevar8x32_ps(_mm256_castps128_ps256(numbers), _mm256_setr_epi32(a, a, a, a, b, b, b, b));
  }
#if defined(__AVX512F__)
  else {
    constexpr int a = first, b = first + 4 / W, c = first + 8 / W, d = first + 12 / W;
    const __m512i from = _mm512_setr_epi32(a, a, a, a, b, b, b, b, c, c, c, c, d, d, d, d);
    return (Vector<float, 16>)_mm512_permutexvar_ps(from, _mm512_castps128_ps512(numbers));
  }
#endif
}

// The halves of a vector.
template <int L>
inline Vector<float, L> beside(const float* first, const float* second) {
#if defined(__AVX512F__)
  if constexpr (L == 16)
    return (Vector<float, 16>)_mm512_insertf32x8(_mm512_castps256_ps512(_mm256_loadu_ps(first)), _mm256_loadu_ps(second), 1);
#endif
}
#endif

// Groups of W channels, padding included.
template <class S, int W>
struct Narrow {
  static constexpr int L = kLanes<S> < 4 * W ? kLanes<S> : 4 * W;
  static constexpr int kVectors = 4 * W / L;  // that hold a point's neighbours
  static constexpr int kSlot = 4 * W;         // numbers of a slot
  using Vec = Vector<S, L>;

  // The output rows of a batch. A function of its own, like its sisters: within a larger one the compiler runs out of registers.
  template <int K, class Batch>
  [[gnu::noinline]] static void sum(const Batch& batch, const S* plane, int64_t row, S* out, int64_t points) {
    const Index<S>* cells = batch.cell;
    const S* weights = batch.weights;
    const int64_t count = K ? K : points;
    for (int64_t i = 0; i < batch.size; ++i, cells += count, weights += 4 * count, out += W) {
      Vec total{}, lower{};
#pragma GCC unroll 9
      for (int64_t k = 0; k < count; ++k) {
        const Neighbours at(plane, cells[k], row);
        total += at.rows[0] * stretch<L, W, 0>(weights + 4 * k);
        if constexpr (kVectors == 2) lower += at.rows[1] * stretch<L, W, 2>(weights + 4 * k);
      }
      if constexpr (kVectors == 2) total += lower;
      Vector<S, W> sum = load<S, W>(reinterpret_cast<const S*>(&total));
#pragma GCC unroll 3
      for (int part = W; part < L; part += W) sum += load<S, W>(reinterpret_cast<const S*>(&total) + part);
      store(out, sum);
    }
  }

  // Dots of the gradient rows with the four neighbours of every point into batch.dots, and their share of each into the slot of the upper
  // left one. Slots never overlap in part: a store that the next point's load overlaps in part would hold it up.
  template <int K, class Batch>
  [[gnu::noinline]] static void spread(Batch& batch, const S* plane, int64_t row, S* slots, const S* grad_row, int64_t points) {
    const Index<S>* cells = batch.cell;
    const S* weights = batch.weights;
    S* dots = batch.dots;
    const int64_t count = K ? K : points;
    for (int64_t i = 0; i < batch.size; ++i, cells += count, weights += 4 * count, dots += 4 * count, grad_row += W) {
      const Vec grad = repeat<L, W>(grad_row);
#pragma GCC unroll 3
      for (int64_t k = 0; k < count; k += kAtOnce) {
        Vec products[kAtOnce][kVectors];
#pragma GCC unroll 4
        for (int j = 0; j < kAtOnce; ++j) {
          if (k + j < count) one(cells[k + j], weights + 4 * (k + j), plane, row, slots, grad, products[j]);
          else std::copy_n(products[0], kVectors, products[j]);
        }
        store(dots + 4 * k, joined(products));  // those past the last point are overwritten, or lie in the margin
      }
    }
  }

  // The gradient of every cell but the border's, first in its own slot, where nobody else looks for anything.
  static void gather(const Problem& p, int64_t planes, S* slots) {
    const Bordered bordered(p);
    for (int64_t plane = 0; plane < planes; ++plane)
      for (int64_t y = 1; y <= p.height; ++y) {
        S* here = slots + (plane * bordered.cells + y * bordered.row + 1) * kSlot;
        for (int64_t x = 0; x < p.width; ++x, here += kSlot) {
          const S* above = here - bordered.row * kSlot;
          const auto as_upper = load<S, W>(here) + load<S, W>(here - kSlot + W);
          const auto as_lower = load<S, W>(above + 2 * W) + load<S, W>(above - kSlot + 3 * W);
          store(here, Vector<S, W>(as_upper + as_lower));
        }
      }
  }

 private:
  using Sums = Fold<S, L>;
  static constexpr int kAtOnce = L / 4;  // points whose dots fill a vector

  struct Neighbours {
    Vec rows[kVectors];

    Neighbours(const S* plane, int64_t cell, int64_t row) {
      const S *top = plane + cell * W, *bottom = top + row * W;
      if constexpr (kVectors == 1) rows[0] = beside<L>(top, bottom);
      else rows[0] = load<S, L>(top), rows[1] = load<S, L>(bottom);
    }
  };

  static inline void one(int64_t cell, const S* weights, const S* plane, int64_t row, S* slots, const Vec& grad, Vec* products) {
    const Neighbours at(plane, cell, row);
    const Vec shares[] = {stretch<L, W, 0>(weights), stretch<L, W, 2>(weights)};
    S* slot = slots + cell * kSlot;
#pragma GCC unroll 2
    for (int v = 0; v < kVectors; ++v) {
      products[v] = at.rows[v] * grad;
      store(slot + v * L, Vec(load<S, L>(slot + v * L) + grad * shares[v]));
    }
  }

  // Two sums of the parts of each of two vectors: [a0 + a2, a1 + a3, b0 + b2, b1 + b3] in every part.
  static inline Vec halved(const Vec& a, const Vec& b) { return Sums::kept(a, b) + Sums::moved(a, b); }

  // Four dots of each point, one point after another.
  static inline Vec joined(const Vec (&p)[kAtOnce][kVectors]) {
    if constexpr (kVectors == 1) {  // a part is a neighbour: its sums for every point stand in its lanes
      const Vec sums = Sums::finish(halved(p[0][0], p[1][0]), halved(p[2][0], p[3][0]));
      return pick<S, L>(sums, sums, [](int i) { return i % 4 * 4 + i / 4; });
    } else {  // a part, or two, is a side: upper and lower neighbour of every point stand in its lanes
      Vec sums = Sums::finish(halved(p[0][0], p[0][1]), halved(p[1][0], p[1][1]));
      if constexpr (kAtOnce == 4) {
        const Vec more = Sums::finish(halved(p[2][0], p[2][1]), halved(p[3][0], p[3][1]));
        const Vec near = pick<S, L>(sums, more, [](int i) { return i / 4 * 8 + i % 4; });
        sums = near + pick<S, L>(sums, more, [](int i) { return i / 4 * 8 + 4 + i % 4; });
      }
      return pick<S, L>(sums, sums, [](int i) { return i / 8 * 8 + i % 2 * 4 + i / 4 % 2 * 2 + i % 4 / 2; });
    }
  }
};

}  // namespace dcnv3
