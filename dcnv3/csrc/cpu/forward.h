// The forward pass over a range of jobs.
#pragma once

#include "channels.h"
#include "job.h"

namespace dcnv3 {

template <class S>
struct ForwardTensors {
  Rows<S> value, offset, mask, out;
};

template <class S, int L, int V, int K>
void forward(const Problem& p, const ForwardTensors<S>& tensors, int64_t first, int64_t last) {
  using Points = Batch<S, kForwardPoints>;
  constexpr int64_t kWidth = L * V;
  const int64_t points = K ? K : p.points();
  const Job job(p, (p.group_channels() + kWidth - 1) / kWidth * kWidth, kForwardPoints);
  const Scratch scratch(sizeof(Points) + (job.planes_size() + kForwardPoints * job.stride) * sizeof(S));
  Points& batch = *reinterpret_cast<Points*>(scratch.memory());
  S *planes = reinterpret_cast<S*>(scratch.memory() + sizeof(Points)), *rows = planes + job.planes_size();
  lay_out(p, job.tiling, batch);
  const auto read = [&](const Place& place) { read_planes(job, place, tensors.value, planes); };
  const auto sum = [&](const Place& place, const Stretch& stretch) {
    prepare<false, K>(job, place, stretch, tensors.offset, tensors.mask, batch);
    for (int64_t at = 0; at < job.stride; at += kWidth)
      for (int64_t i = 0; i < batch.size; ++i)
        Channels<S, L, V>::template sum<K>(batch, i * points, {planes + at, job.bordered.row, job.stride}, rows + i * job.stride + at, points);
    tensors.out.write(job.output(place, stretch), rows, job.output_runs(stretch).reversed());
  };
  each_stretch(job, first, last, tensors.offset, tensors.mask, read, sum, [](const Place&) {});
}

}  // namespace dcnv3
