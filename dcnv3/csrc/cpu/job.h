// How a call is cut into jobs of one image and some of its groups each, what a job works on, and in which order. No two jobs write the
// same memory, and a job's order is fixed: results depend neither on the number of threads nor on their pace.
#pragma once

#include <cstdlib>
#include <new>
#include <vector>

#include "batch.h"
#include "tensors.h"

namespace dcnv3 {

// Memory of one thread, holding anything, handed on from call to call: large blocks go back to the system when freed, and faulting
// them in again costs more than filling them. Very large ones are given back all the same.
class Scratch {
 public:
  explicit Scratch(size_t bytes) {
    if (bytes > held().size) held().resize(bytes);
  }
  ~Scratch() {
    if (held().size > kKept) held().resize(0);
  }
  Scratch(const Scratch&) = delete;

  char* memory() const { return held().memory; }

 private:
  static constexpr size_t kKept = size_t(32) << 20;

  struct Held {
    char* memory = nullptr;
    size_t size = 0;

    void resize(size_t bytes) {
      std::free(memory);
      size = (bytes + 63) / 64 * 64;
      memory = size ? static_cast<char*>(std::aligned_alloc(64, size)) : nullptr;
      if (size && !memory) size = 0, throw std::bad_alloc();
    }
    ~Held() { std::free(memory); }
  };

  static Held& held() {
    static thread_local Held held;
    return held;
  }
};

// Pixels that are worked on together, and where the first of them lies.
struct Stretch {
  int64_t pixel, count, x, y;
};

// The image of a job and the first of its groups.
struct Place {
  int64_t image, group;
};

// What the loops over batches share: sizes of the problem, and how it is cut into jobs of one image and some of its groups each.
struct Job {
  const Problem& problem;
  Tiling tiling;
  Bordered bordered;
  int64_t stride;  // numbers that a cell takes: the group's channels, padded to whole vectors
  std::vector<Stretch> stretches;  // of every plane

  Job(const Problem& p, int64_t cell, int points) : problem(p), tiling(p, points), bordered(p), stride(cell) {
    for (int64_t y = 0; y < p.out_height; y += tiling.rows)
      for (int64_t x = 0; x < p.out_width; x += tiling.columns) {
        const int64_t rows = std::min(tiling.rows, p.out_height - y);
        stretches.push_back({y * p.out_width + x, rows > 1 ? rows * p.out_width : std::min(tiling.columns, p.out_width - x), x, y});
      }
  }

  Place place(int64_t number) const {
    const int64_t per_image = problem.groups / tiling.groups;
    return {number / per_image, number % per_image * tiling.groups};
  }

  // Of the planes of a job, in numbers; what follows them in memory stands as vectors do best.
  int64_t planes_size() const { return (tiling.groups * bordered.cells * stride + 15) / 16 * 16; }

  // Row y of the value's planes: where it is in the tensor and in the planes, and how the one is copied to the other.
  int64_t value_row(const Place& place, int64_t y) const {
    return ((place.image * problem.height + y) * problem.width * problem.groups + place.group) * problem.group_channels();
  }
  int64_t plane_row(int64_t y) const { return (y + 1) * bordered.row + 1; }  // in cells
  Runs row_runs(int64_t cell) const {
    const int64_t channels = problem.group_channels();
    return {problem.width, channels, problem.channels, cell, tiling.groups, channels, bordered.cells * cell};
  }

  // A stretch of an output or its gradient: where it is in the tensor, and how it is copied to rows that stand close.
  int64_t output(const Place& place, const Stretch& stretch) const {
    return ((place.image * problem.pixels() + stretch.pixel) * problem.groups + place.group) * problem.group_channels();
  }
  Runs output_runs(const Stretch& stretch) const {
    const int64_t channels = problem.group_channels();
    return {stretch.count, channels, problem.channels, tiling.groups * stride, tiling.groups, channels, stride};
  }
};

// Planes of the job's groups from the value's memory, borders left alone.
template <class S>
void read_planes(const Job& job, const Place& place, const Rows<S>& value, S* planes) {
  const Problem& p = job.problem;
  for (int64_t y = 0; y < p.height; ++y)
    value.read(job.value_row(place, y), planes + job.plane_row(y) * job.stride, job.row_runs(job.stride));
}

// Where a stretch lies in the mask, in pairs of numbers in the offsets.
struct Reach {
  int64_t at;
  Runs runs;

  Reach(const Job& job, const Place& place, const Stretch& stretch) {
    const Problem& p = job.problem;
    const int64_t run = job.tiling.groups * p.points();
    at = ((place.image * p.pixels() + stretch.pixel) * p.groups + place.group) * p.points();
    runs = {stretch.count, run, p.groups * p.points(), run};
  }

  Reach doubled() const {
    Reach twice = *this;
    twice.at *= 2, twice.runs.length *= 2, twice.runs.from_stride *= 2, twice.runs.to_stride *= 2;
    return twice;
  }
};

// Calls body(place, stretch) for every stretch of jobs first to last, whose planes open(place) reads and close(place) finishes.
// Memory of the stretch after it is asked for meanwhile: it is far apart, and the processor does not foresee it.
template <class S, class Open, class Body, class Close>
void each_stretch(const Job& job, int64_t first, int64_t last, const Rows<S>& offset, const Rows<S>& mask, Open open, Body body,
                  Close close) {
  const int64_t count = job.stretches.size();
  for (int64_t number = first; number < last; ++number) {
    const Place place = job.place(number);
    open(place);
    for (int64_t i = 0; i < count; ++i) {
      const bool done = i + 1 == count;
      if (!done || number + 1 < last) {
        const Reach next(job, job.place(number + done), job.stretches[done ? 0 : i + 1]);
        mask.prefetch(next.at, next.runs);
        offset.prefetch(next.doubled().at, next.doubled().runs);
      }
      body(place, job.stretches[i]);
    }
    close(place);
  }
}

// Offsets, masks and what follows from them, for a batch.
template <bool Gradients, bool Mixed, int K, class S, int P>
void prepare(const Job& job, const Place& place, const Stretch& stretch, const Rows<S>& offset, const Rows<S>& mask, Batch<S, P>& batch) {
  const Problem& p = job.problem;
  const Reach reach(job, place, stretch), pairs = reach.doubled();
  const int64_t points = K ? K : p.points();
  batch.size = stretch.count * job.tiling.groups;
  mask.read(reach.at, batch.mask, reach.runs);
  offset.read(pairs.at, batch.pairs, pairs.runs);
  if (p.softmax) softmax<K>(batch, points);
  locate<Gradients, Mixed>(p, S(stretch.x * p.stride_w), S(stretch.y * p.stride_h), batch.size * points, batch);
}

}  // namespace dcnv3
