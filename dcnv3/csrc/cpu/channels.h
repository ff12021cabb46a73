// The inner loops over the channels of a group: sums over neighbours, and their gradients.
#pragma once

#include "batch.h"
#include "fold.h"

namespace dcnv3 {

// A bordered plane, from some channel on: numbers per cell, cells per row.
template <class S>
struct Plane {
  const S* data;
  int64_t row, stride;
};

// How many points a pixel-group has where that is not known before, and whether these are its first channels.
struct Pass {
  int64_t points;
  bool first;
};

// Channels of a group as V vectors of L lanes.
template <class S, int L, int V>
struct Channels {
  using Vec = Vector<S, L>;
  static constexpr int64_t kWidth = L * V;

  // The output rows of a batch, `plane.stride` apart. A function of its own: within a larger one the compiler runs out of registers.
  template <int K, class Batch>
  [[gnu::noinline]] static void sums(const Batch& batch, Plane<S> plane, S* out, int64_t points) {
    const int64_t count = K ? K : points;
    for (int64_t i = 0; i < batch.size; ++i) sum<K>(batch, i * count, plane, out + i * plane.stride, count);
  }

  // Dots of the gradient rows with the four neighbours of every point into batch.dots, and their share of each into the gradient plane.
  template <int K, class Batch>
  [[gnu::noinline]] static void spreads(Batch& batch, Plane<S> plane, S* grad_plane, const S* grad_rows, Pass pass) {
    const int64_t count = K ? K : pass.points;
    for (int64_t i = 0; i < batch.size; ++i) spread<K>(batch, i * count, plane, grad_plane, grad_rows + i * plane.stride, pass);
  }

 private:
  // The output row of one pixel-group whose points begin at `f`.
  template <int K, class Batch>
  [[gnu::always_inline]] static inline void sum(const Batch& batch, int64_t f, Plane<S> plane, S* out, int64_t points) {
    Vec upper[V] = {}, lower[V] = {};
    const int64_t count = K ? K : points;
#pragma GCC unroll 9
    for (int64_t k = f; k < f + count; ++k) {
      const S* top = plane.data + int64_t(batch.cell[k]) * plane.stride;
      const S* bottom = top + plane.row * plane.stride;
      const S a = batch.weight(0)[k], b = batch.weight(1)[k], c = batch.weight(2)[k], d = batch.weight(3)[k];
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        upper[v] += load<S, L>(top + v * L) * a;
        lower[v] += load<S, L>(bottom + v * L) * c;
        upper[v] += load<S, L>(top + plane.stride + v * L) * b;
        lower[v] += load<S, L>(bottom + plane.stride + v * L) * d;
      }
    }
#pragma GCC unroll 8
    for (int v = 0; v < V; ++v) store(out + v * L, Vec(upper[v] + lower[v]));
  }

  // Dots and shares of one pixel-group.
  template <int K, class Batch>
  [[gnu::always_inline]] static inline void spread(Batch& batch, int64_t f, Plane<S> plane, S* grad_plane, const S* grad_row, Pass pass) {
    const Gradient grad(grad_row);
    const int64_t count = K ? K : pass.points;
    int64_t k = 0;
#pragma GCC unroll 4
    for (; k + kParts <= count; k += kParts) {
      Vec quarters[kParts];
#pragma GCC unroll 4
      for (int i = 0; i < kParts; ++i) quarters[i] = point(batch, f + k + i, plane, grad_plane, grad);
      put(batch.dots + 4 * (f + k), pass.first, Sums::join(quarters));
    }
    for (; k < count; ++k)
      put(batch.dots + 4 * (f + k), pass.first, Sums::across(point(batch, f + k, plane, grad_plane, grad)));
  }

  using Sums = Fold<S, L>;
  static constexpr int kParts = Sums::kParts;

  template <class Dots>
  static inline void put(S* to, bool first, Dots dots) {
    if (!first) dots += load<S, sizeof(Dots) / sizeof(S)>(to);
    store(to, dots);
  }

  // The output's gradient of one pixel-group, and the same with the halves of every part swapped.
  struct Gradient {
    Vec as_is[V], swapped[V];

    explicit Gradient(const S* row) {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        as_is[v] = load<S, L>(row + v * L);
        swapped[v] = Sums::moved(as_is[v], as_is[v]);
      }
    }

    // Half-summed dots with two rows: [a0 + a2, a1 + a3, b0 + b2, b1 + b3] in every part.
    inline Vec dots(const S* a, const S* b) const {
      Vec sum{};
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) {
        const Vec row_a = load<S, L>(a + v * L), row_b = load<S, L>(b + v * L);
        const Vec term = Sums::kept(row_a, row_b) * as_is[v];
        sum = (v ? sum + term : term) + Sums::moved(row_a, row_b) * swapped[v];
      }
      return sum;
    }

    inline void add_to(S* row, S weight) const {
#pragma GCC unroll 8
      for (int v = 0; v < V; ++v) store(row + v * L, Vec(load<S, L>(row + v * L) + as_is[v] * weight));
    }
  };

  // Dots with the four neighbours of one point, summed within every part; the gradient's share goes to each.
  template <class Batch>
  static inline Vec point(const Batch& batch, int64_t f, Plane<S> plane, S* grad_plane, const Gradient& grad) {
    const int64_t stride = plane.stride, at = int64_t(batch.cell[f]) * stride, below = at + plane.row * stride;
    const S *top = plane.data + at, *bottom = plane.data + below;
    const Vec upper = grad.dots(top, top + stride), lower = grad.dots(bottom, bottom + stride);
    grad.add_to(grad_plane + at, batch.weight(0)[f]);
    grad.add_to(grad_plane + at + stride, batch.weight(1)[f]);
    grad.add_to(grad_plane + below, batch.weight(2)[f]);
    grad.add_to(grad_plane + below + stride, batch.weight(3)[f]);
    return Sums::finish(upper, lower);
  }
};

}  // namespace dcnv3
