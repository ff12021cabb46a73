// From offsets and logits to what the sums need: for a batch of pixels of one group, every point's cell, shares and weight.
//
// A batch is flat: point k of its p-th pixel-group stands at p·K + k. Vectors run over that row with no lane idle, and what they write
// past the end of a pixel-group or of the batch is overwritten by the next one or lies in the margin.
#pragma once

#include "fold.h"
#include "tiling.h"
#include "vector.h"

namespace dcnv3 {

// Points of a batch: with nine of them a group, whole vectors of every width, and small enough for the first-level cache.
constexpr int kForwardPoints = 288;
constexpr int kBackwardPoints = 144;

template <class S, int Points>
struct Batch {
  static constexpr int kRow = Points + 32;  // the margin takes the widest vector, twice
  int64_t size;  // pixel-groups

  // As it came: logits or weights, and (x, y) pairs.
  alignas(64) S mask[kRow];
  alignas(64) S pairs[2 * kRow];

  alignas(64) S scale[kRow];  // of the pixel-group that a point belongs to

  // Where each point's pixel stands, in whole numbers, relative to the first one of the batch, and the point beside it, before its offset.
  // Added in this order: a location does not hang on where its batch begins, whatever is rounded.
  alignas(64) S table_x[kRow];
  alignas(64) S table_y[kRow];
  alignas(64) S beside_x[kRow];
  alignas(64) S beside_y[kRow];
  alignas(64) Index<S> table_cell[kRow];  // the first cell of the point's group

  alignas(64) Index<S> cell[kRow];  // upper left neighbour, in the bordered planes
  // Of the neighbours upper left, upper right, lower left and lower right, the mask included: in four rows, or point by point.
  alignas(64) S weights[4 * kRow];
  S* weight(int neighbour) { return weights + neighbour * kRow; }
  const S* weight(int neighbour) const { return weights + neighbour * kRow; }

  // For gradients only.
  alignas(64) S share_x[kRow];
  alignas(64) S share_y[kRow];
  alignas(64) S reach_x[kRow];  // d location / d offset: the offset scale, or zero off the plane
  alignas(64) S reach_y[kRow];
  alignas(64) S dots[4 * kRow];  // of the output's gradient with the four neighbours, point by point
  alignas(64) S grad_sample[kRow];
  alignas(64) S grad_mask[kRow];
  alignas(64) S grad_pairs[2 * kRow];
};

template <class S, int P>
void lay_out(const Problem& problem, const Tiling& tiling, Batch<S, P>& batch) {
  const S scale = problem.offset_scale;
  const int64_t center_h = problem.dilation_h * (problem.kernel_h - 1) / 2, center_w = problem.dilation_w * (problem.kernel_w - 1) / 2;
  const int64_t removed = problem.remove_center ? problem.kernel_h * problem.kernel_w / 2 : -1;
  const Bordered bordered(problem);
  int64_t at = 0;
  for (int64_t y = 0; y < tiling.rows; ++y)
    for (int64_t x = 0; x < tiling.columns; ++x)
      for (int64_t group = 0; group < tiling.groups; ++group)
        for (int64_t w = 0, k = 0; w < problem.kernel_w; ++w)
          for (int64_t h = 0; h < problem.kernel_h; ++h, ++k) {
            if (k == removed) continue;
            const int64_t step_x = w * problem.dilation_w, step_y = h * problem.dilation_h;
            batch.table_x[at] = center_w - problem.pad_w + x * problem.stride_w;
            batch.table_y[at] = center_h - problem.pad_h + y * problem.stride_h;
            batch.beside_x[at] = S(step_x - center_w) * scale;
            batch.beside_y[at] = S(step_y - center_h) * scale;
            batch.table_cell[at] = bordered.row + 1 + group * bordered.cells;
            ++at;
          }
  const int64_t rest = Batch<S, P>::kRow - at;  // vectors run past the last point, to cells that nobody reads
  for (S* row : {batch.table_x, batch.table_y, batch.beside_x, batch.beside_y}) std::fill_n(row + at, rest, S(0));
  std::fill_n(batch.table_cell + at, rest, 0);
}

// Lanes that sum to nine numbers.
template <class S, int L>
inline Vector<S, L> sum_of_nine(const S* row) {
  if constexpr (L > 9) {
    return pick<S, L>(load<S, L>(row), Vector<S, L>{}, [](int i) { return i < 9 ? i : L; });
  } else {
    Vector<S, L> sum = pick<S, L>(load<S, L>(row + 8), Vector<S, L>{}, [](int i) { return i ? L : 0; });
#pragma GCC unroll 2
    for (int k = 0; k < 8; k += L) sum += load<S, L>(row + k);
    return sum;
  }
}

// Of a logit that needs no shift: neither it nor a sum over any kernel's points overflows or vanishes.
constexpr int kModest = 40;

// Where a pixel-group's logits are not all modest, they become differences from the largest of them: infinity and what is not a number
// spoil their own pixel-group. Others are left alone, so that no result depends on its company.
template <class S, int P>
void recentre(Batch<S, P>& batch, int64_t points) {
  for (int64_t p = 0; p < batch.size; ++p) {
    S* logits = batch.mask + p * points;
    S most = logits[0];
    bool modest = true;
    for (int64_t k = 0; k < points; ++k) {
      most = logits[k] > most ? logits[k] : most;
      modest &= logits[k] > -kModest && logits[k] < kModest;
    }
    if (modest) continue;
    for (int64_t k = 0; k < points; ++k) logits[k] -= most;
  }
}

// One number for each pixel-group, function(the sum of its points' numbers), written at every point of it.
template <int K, class S, class Function>
void sum_groups(const S* row, int64_t size, int64_t points, S* to, Function function) {
  constexpr int L = kLanes<S>;
  const int64_t count = K ? K : points;
  for (int64_t p = 0; p < size; p += 4) {
    Vector<S, 4> sums;
    if constexpr (K == 9 && sizeof(S) == 4) {
      Vector<S, L> rows[4];
      for (int i = 0; i < 4; ++i) rows[i] = sum_of_nine<S, L>(row + (p + i) * 9);
      sums = Fold<S, L>::sums(rows);
    } else {
      for (int i = 0; i < 4; ++i) {
        sums[i] = 0;
        for (int64_t k = 0; k < count && p + i < size; ++k) sums[i] += row[(p + i) * count + k];
      }
    }
    sums = function(sums);
    for (int i = 0; i < 4 && p + i < size; ++i)
      for (int64_t k = 0; k < count; k += L) store(to + (p + i) * count + k, fill<S, L>(sums[i]));
  }
}

// batch.mask from logits to weights that sum to one in each pixel-group.
template <int K, class S, int P>
void softmax(Batch<S, P>& batch, int64_t points) {
  constexpr int L = kLanes<S>;
  using V = Vector<S, L>;
  const int64_t count = batch.size * points;
  store(batch.mask + count, V{});
  auto extreme = V{} > V{};
  for (int64_t f = 0; f < count; f += L) {
    const V logits = load<S, L>(batch.mask + f);
    extreme |= ~((logits > S(-kModest)) & (logits < S(kModest)));  // true for what is not a number
  }
  Index<S> any = 0;
  for (int i = 0; i < L; ++i) any |= extreme[i];
  if (any) recentre(batch, points);
  for (int64_t f = 0; f < count; f += L) store(batch.mask + f, exponential<L>(load<S, L>(batch.mask + f)));
  sum_groups<K>(batch.mask, batch.size, points, batch.scale, [](auto sums) { return 1 / sums; });
  for (int64_t f = 0; f < count; f += L) store(batch.mask + f, V(load<S, L>(batch.mask + f) * load<S, L>(batch.scale + f)));
}

template <class S, int L>
inline Vector<S, L> even(const Vector<S, L>& a, const Vector<S, L>& b) {
  return pick<S, L>(a, b, [](int i) { return 2 * i; });
}

template <class S, int L>
inline Vector<S, L> odd(const Vector<S, L>& a, const Vector<S, L>& b) {
  return pick<S, L>(a, b, [](int i) { return 2 * i + 1; });
}

// One number of each of four rows after another.
template <class S, int L>
inline void store_mixed(S* to, const Vector<S, L>& a, const Vector<S, L>& b, const Vector<S, L>& c, const Vector<S, L>& d) {
  const auto first = [](int i) { return i / 2 + i % 2 * L; }, second = [](int i) { return L / 2 + i / 2 + i % 2 * L; };
  const auto low = [](int i) { return i / 4 * 2 + i % 2 + i / 2 % 2 * L; };
  const auto high = [](int i) { return L / 2 + i / 4 * 2 + i % 2 + i / 2 % 2 * L; };
  const Vector<S, L> ab = pick<S, L>(a, b, first), cd = pick<S, L>(c, d, first);
  store(to, pick<S, L>(ab, cd, low));
  store(to + L, pick<S, L>(ab, cd, high));
  const Vector<S, L> more_ab = pick<S, L>(a, b, second), more_cd = pick<S, L>(c, d, second);
  store(to + 2 * L, pick<S, L>(more_ab, more_cd, low));
  store(to + 3 * L, pick<S, L>(more_ab, more_cd, high));
}

// Cells, shares and weights of a batch whose first pixel would be sampled at (first_x, first_y). Weights are `Mixed` point by point.
template <bool Gradients, bool Mixed, class S, int P>
void locate(const Problem& problem, S first_x, S first_y, int64_t count, Batch<S, P>& batch) {
  constexpr int L = kLanes<S>;
  using V = Vector<S, L>;
  const S scale = problem.offset_scale, width = problem.width, height = problem.height;
  const Index<S> row = problem.width + 2;
  for (int64_t f = 0; f < count; f += L) {
    const V a = load<S, L>(batch.pairs + 2 * f), b = load<S, L>(batch.pairs + 2 * f + L);
    V x = (load<S, L>(batch.table_x + f) + first_x) + load<S, L>(batch.beside_x + f) + even<S, L>(a, b) * scale;
    V y = (load<S, L>(batch.table_y + f) + first_y) + load<S, L>(batch.beside_y + f) + odd<S, L>(a, b) * scale;
    const auto in_x = (x > S(-1)) & (x < width), in_y = (y > S(-1)) & (y < height);  // false for NaN
    x = in_x ? x : fill<S, L>(-1);
    y = in_y ? y : fill<S, L>(-1);
    const auto left = floor_index<S, L>(x), top = floor_index<S, L>(y);
    const V share_x = x - __builtin_convertvector(left, V), share_y = y - __builtin_convertvector(top, V);
    store(batch.cell + f, top * row + left + load<Index<S>, L>(batch.table_cell + f));
    const V mask = load<S, L>(batch.mask + f);
    const V lower = mask * share_y, upper = mask - lower, lower_right = lower * share_x, upper_right = upper * share_x;
    if constexpr (Mixed) {
      store_mixed<S, L>(batch.weights + 4 * f, upper - upper_right, upper_right, lower - lower_right, lower_right);
    } else {
      store(batch.weight(0) + f, upper - upper_right);
      store(batch.weight(1) + f, upper_right);
      store(batch.weight(2) + f, lower - lower_right);
      store(batch.weight(3) + f, lower_right);
    }
    if constexpr (Gradients) {
      store(batch.share_x + f, share_x);
      store(batch.share_y + f, share_y);
      store(batch.reach_x + f, in_x ? fill<S, L>(scale) : V{});
      store(batch.reach_y + f, in_y ? fill<S, L>(scale) : V{});
    }
  }
}

}  // namespace dcnv3
