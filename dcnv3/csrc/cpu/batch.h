// From offsets and logits to what the sums need: for a batch of pixels of one group, every point's cell, shares and weight.
//
// A batch is flat: point k of its p-th pixel-group stands at p·K + k. Vectors run over that row with no lane idle, and what they write
// past the end of a pixel-group or of the batch is overwritten by the next one or lies in the margin.
#pragma once

#include "fold.h"
#include "problem.h"
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

  // Where each point stands before its offset, relative to the first pixel of the batch, and its group's first cell.
  alignas(64) S table_x[kRow];
  alignas(64) S table_y[kRow];
  alignas(64) Index<S> table_cell[kRow];

  alignas(64) Index<S> cell[kRow];  // upper left neighbour, in the bordered planes
  alignas(64) S weight[4][kRow];    // of the neighbours, the mask included: upper left, upper right, lower left, lower right

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

struct Bordered {
  int64_t row, cells;  // of a plane with a border of one zero pixel
  explicit Bordered(const Problem& problem) : row(problem.width + 2), cells((problem.height + 2) * row) {}
};

// Of all planes of a job of several groups: beyond this they gain nothing from being worked on together, and leave the cache.
constexpr int64_t kMostCells = 1 << 16;

// How the pixels of one image and some of its groups are cut into batches.
struct Tiling {
  int64_t groups;  // planes that a job holds: more than one where a plane has few pixels
  int64_t rows, columns;

  Tiling(const Problem& problem, int points) {
    const int64_t most = std::max<int64_t>(1, points / problem.points());
    groups = std::clamp<int64_t>(most / problem.pixels(), 1, problem.groups);
    groups = std::clamp<int64_t>(kMostCells / Bordered(problem).cells, 1, groups);
    while (problem.groups % groups) --groups;  // every job alike
    rows = groups > 1 ? problem.out_height : std::clamp<int64_t>(most / problem.out_width, 1, problem.out_height);
    const int64_t segments = (problem.out_width + most - 1) / most;
    columns = (problem.out_width + segments - 1) / segments;
  }
};

template <class S, int P>
void lay_out(const Problem& problem, const Tiling& tiling, Batch<S, P>& batch) {
  const S scale = problem.offset_scale;
  const int64_t center_h = problem.dilation_h * (problem.kernel_h - 1) / 2, center_w = problem.dilation_w * (problem.kernel_w - 1) / 2;
  const int64_t removed = problem.remove_center ? problem.kernel_h * problem.kernel_w / 2 : -1;
  int64_t at = 0;
  for (int64_t y = 0; y < tiling.rows; ++y)
    for (int64_t x = 0; x < tiling.columns; ++x)
      for (int64_t group = 0; group < tiling.groups; ++group)
        for (int64_t k = 0; k < problem.kernel_h * problem.kernel_w; ++k) {
          if (k == removed) continue;
          const int64_t step_x = k / problem.kernel_h * problem.dilation_w, step_y = k % problem.kernel_h * problem.dilation_h;
          batch.table_x[at] = S(center_w - problem.pad_w + x * problem.stride_w) + S(step_x - center_w) * scale;
          batch.table_y[at] = S(center_h - problem.pad_h + y * problem.stride_h) + S(step_y - center_h) * scale;
          batch.table_cell[at] = Bordered(problem).row + 1 + group * Bordered(problem).cells;
          ++at;
        }
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

// Logits become differences from their own pixel-group's largest; the shift that is left is returned.
template <class S, int P>
S recentre(Batch<S, P>& batch, int64_t points) {
  for (int64_t p = 0; p < batch.size; ++p) {
    S* logits = batch.mask + p * points;
    S most = logits[0];
    for (int64_t k = 1; k < points; ++k) most = logits[k] > most ? logits[k] : most;
    for (int64_t k = 0; k < points; ++k) logits[k] -= most;
  }
  return 0;
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
  store(batch.mask + count, fill<S, L>(batch.mask[0]));
  V low = load<S, L>(batch.mask), high = low, zero = low * 0;
  for (int64_t f = L; f < count; f += L) {
    const V logits = load<S, L>(batch.mask + f);
    low = logits < low ? logits : low;
    high = logits > high ? logits : high;
    zero += logits * 0;
  }
  S least = low[0], most = high[0], nought = zero[0];
  for (int i = 1; i < L; ++i) {
    least = low[i] < least ? low[i] : least;
    most = high[i] > most ? high[i] : most;
    nought += zero[i];
  }
  // One shift for the whole batch, unless that would let a pixel-group underflow. NaN and infinity, of which nothing is not nothing, take
  // the careful way too.
  if (!(most - least + nought < 40)) most = recentre(batch, points);
  for (int64_t f = 0; f < count; f += L) store(batch.mask + f, exp_nonpositive<L>(V(load<S, L>(batch.mask + f) - most)));
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

// Cells, shares and weights of a batch whose first pixel would be sampled at (first_x, first_y).
template <bool Gradients, class S, int P>
void locate(const Problem& problem, S first_x, S first_y, int64_t count, Batch<S, P>& batch) {
  constexpr int L = kLanes<S>;
  using V = Vector<S, L>;
  const S scale = problem.offset_scale, width = problem.width, height = problem.height;
  const Index<S> row = problem.width + 2;
  for (int64_t f = 0; f < count; f += L) {
    const V a = load<S, L>(batch.pairs + 2 * f), b = load<S, L>(batch.pairs + 2 * f + L);
    V x = (load<S, L>(batch.table_x + f) + first_x) + even<S, L>(a, b) * scale;
    V y = (load<S, L>(batch.table_y + f) + first_y) + odd<S, L>(a, b) * scale;
    const auto in_x = (x > S(-1)) & (x < width), in_y = (y > S(-1)) & (y < height);  // false for NaN
    x = in_x ? x : fill<S, L>(-1);
    y = in_y ? y : fill<S, L>(-1);
    const auto left = floor_index<S, L>(x), top = floor_index<S, L>(y);
    const V share_x = x - __builtin_convertvector(left, V), share_y = y - __builtin_convertvector(top, V);
    store(batch.cell + f, top * row + left + load<Index<S>, L>(batch.table_cell + f));
    const V mask = load<S, L>(batch.mask + f);
    const V lower = mask * share_y, upper = mask - lower, lower_right = lower * share_x, upper_right = upper * share_x;
    store(batch.weight[0] + f, upper - upper_right);
    store(batch.weight[1] + f, upper_right);
    store(batch.weight[2] + f, lower - lower_right);
    store(batch.weight[3] + f, lower_right);
    if constexpr (Gradients) {
      store(batch.share_x + f, share_x);
      store(batch.share_y + f, share_y);
      store(batch.reach_x + f, in_x ? fill<S, L>(scale) : V{});
      store(batch.reach_y + f, in_y ? fill<S, L>(scale) : V{});
    }
  }
}

}  // namespace dcnv3
