// The forward pass over a range of jobs.
#pragma once

#include "channels.h"
#include "job.h"
#include "narrow.h"

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
  std::memset(planes, 0, job.planes_size() * sizeof(S));  // borders, and channels that fill up a vector
  lay_out(p, job.tiling, batch);
  const auto read = [&](const Place& place) { read_planes(job, place, tensors.value, planes); };
  const auto sum = [&](const Place& place, const Stretch& stretch) {
    prepare<false, kNarrow<S, kWidth>, K>(job, place, stretch, tensors.offset, tensors.mask, batch);
    if constexpr (kNarrow<S, kWidth>) {
      Narrow<S, kWidth>::template sum<K>(batch, planes, job.bordered.row, rows, points);
    } else {
      for (int64_t at = 0; at < job.stride; at += kWidth)
        Channels<S, L, V>::template sums<K>(batch, {planes + at, job.bordered.row, job.stride}, rows + at, points);
    }
    tensors.out.write(job.output(place, stretch), rows, job.output_runs(stretch).reversed());
  };
  each_stretch(job, first, last, tensors.offset, tensors.mask, read, sum, [](const Place&) {});
}

}  // namespace dcnv3
