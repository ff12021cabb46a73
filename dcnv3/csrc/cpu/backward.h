// The backward pass over the same jobs: every gradient is written once, by one thread, in a fixed order.
#pragma once

#include "forward.h"

namespace dcnv3 {

template <class S>
struct BackwardTensors {
  Rows<S> grad, value, offset, mask;
  Rows<S> grad_value, grad_offset, grad_mask;
};

// From the dots of the output's gradient with each point's neighbours to the gradients of its mask and of its offset.
template <class S, int P>
void differentiate(Batch<S, P>& batch, int64_t count) {
  constexpr int L = kLanes<S>;
  using V = Vector<S, L>;
  for (int64_t f = 0; f < count; f += L) {
    const S* dots = batch.dots + 4 * f;
    const V a = load<S, L>(dots), b = load<S, L>(dots + L), c = load<S, L>(dots + 2 * L), d = load<S, L>(dots + 3 * L);
    const V left_ab = even<S, L>(a, b), right_ab = odd<S, L>(a, b), left_cd = even<S, L>(c, d), right_cd = odd<S, L>(c, d);
    const V upper_left = even<S, L>(left_ab, left_cd), lower_left = odd<S, L>(left_ab, left_cd);
    const V upper_step = even<S, L>(right_ab, right_cd) - upper_left, lower_step = odd<S, L>(right_ab, right_cd) - lower_left;
    const V share_x = load<S, L>(batch.share_x + f), share_y = load<S, L>(batch.share_y + f), mask = load<S, L>(batch.mask + f);
    const V upper = upper_left + share_x * upper_step, slope_y = lower_left + share_x * lower_step - upper;
    const V slope_x = upper_step + share_y * (lower_step - upper_step);
    store(batch.grad_sample + f, V(upper + share_y * slope_y));
    const V grad_x = mask * load<S, L>(batch.reach_x + f) * slope_x, grad_y = mask * load<S, L>(batch.reach_y + f) * slope_y;
    store(batch.grad_pairs + 2 * f, pick<S, L>(grad_x, grad_y, [](int i) { return i / 2 + i % 2 * L; }));
    store(batch.grad_pairs + 2 * f + L, pick<S, L>(grad_x, grad_y, [](int i) { return L / 2 + i / 2 + i % 2 * L; }));
  }
}

// Gradients of the logits from those of the weights.
template <int K, class S, int P>
void differentiate_softmax(Batch<S, P>& batch, int64_t points) {
  constexpr int L = kLanes<S>;
  using V = Vector<S, L>;
  const int64_t count = batch.size * points;
  for (int64_t f = 0; f < count; f += L) store(batch.grad_mask + f, V(load<S, L>(batch.mask + f) * load<S, L>(batch.grad_sample + f)));
  sum_groups<K>(batch.grad_mask, batch.size, points, batch.scale, [](auto sums) { return sums; });
  for (int64_t f = 0; f < count; f += L)
    store(batch.grad_mask + f, V(load<S, L>(batch.grad_mask + f) - load<S, L>(batch.mask + f) * load<S, L>(batch.scale + f)));
}

// The planes' interiors go to the tensor; a cell takes `cell` numbers.
template <class S>
void write_planes(const Job& job, const Place& place, const S* planes, int64_t cell, const Rows<S>& to) {
  for (int64_t y = 0; y < job.problem.height; ++y)
    to.write(job.value_row(place, y), planes + job.plane_row(y) * cell, job.row_runs(cell).reversed());
}

template <class S, int L, int V, int K>
void backward(const Problem& p, const BackwardTensors<S>& tensors, int64_t first, int64_t last) {
  using Points = Batch<S, kBackwardPoints>;
  constexpr int64_t kWidth = L * V;
  constexpr bool kSlots = kNarrow<S, kWidth>;
  const int64_t points = K ? K : p.points();
  const Job job(p, (p.group_channels() + kWidth - 1) / kWidth * kWidth, kBackwardPoints);
  const int64_t grad_cell = kSlots ? Narrow<S, kWidth>::kSlot : job.stride, grad_size = job.planes_size() / job.stride * grad_cell;
  const Scratch scratch(sizeof(Points) + (job.planes_size() + grad_size + kBackwardPoints * job.stride) * sizeof(S));
  Points& batch = *reinterpret_cast<Points*>(scratch.memory());
  S *planes = reinterpret_cast<S*>(scratch.memory() + sizeof(Points)), *grad_planes = planes + job.planes_size();
  S* rows = grad_planes + grad_size;
  std::memset(planes, 0, job.planes_size() * sizeof(S));  // borders, and channels that fill up a vector
  std::memset(rows, 0, kBackwardPoints * job.stride * sizeof(S));
  lay_out(p, job.tiling, batch);
  const auto open = [&](const Place& place) {
    read_planes(job, place, tensors.value, planes);
    std::memset(grad_planes, 0, grad_size * sizeof(S));
  };
  const auto spread = [&](const Place& place, const Stretch& stretch) {
    prepare<true, kSlots, K>(job, place, stretch, tensors.offset, tensors.mask, batch);
    tensors.grad.read(job.output(place, stretch), rows, job.output_runs(stretch));
    if constexpr (kSlots) {
      Narrow<S, kWidth>::template spread<K>(batch, planes, job.bordered.row, grad_planes, rows, points);
    } else {
      for (int64_t at = 0; at < job.stride; at += kWidth)
        Channels<S, L, V>::template spreads<K>(batch, {planes + at, job.bordered.row, job.stride}, grad_planes + at, rows + at,
                                               {points, at == 0});
    }
    differentiate(batch, batch.size * points);
    if (p.softmax) differentiate_softmax<K>(batch, points);
    const Reach reach(job, place, stretch), pairs = reach.doubled();
    tensors.grad_mask.write(reach.at, p.softmax ? batch.grad_mask : batch.grad_sample, reach.runs.reversed());
    tensors.grad_offset.write(pairs.at, batch.grad_pairs, pairs.runs.reversed());
  };
  const auto close = [&](const Place& place) {
    if constexpr (kSlots) Narrow<S, kWidth>::gather(p, job.tiling.groups, grad_planes);
    write_planes(job, place, grad_planes, grad_cell, tensors.grad_value);
  };
  each_stretch(job, first, last, tensors.offset, tensors.mask, open, spread, close);
}

}  // namespace dcnv3
