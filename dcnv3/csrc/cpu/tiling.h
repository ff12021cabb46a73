// How the pixels of one image and some of its groups are cut into batches.
#pragma once

#include "problem.h"

namespace dcnv3 {

struct Bordered {
  int64_t row, cells;  // of a plane with a border of one zero pixel
  explicit Bordered(const Problem& problem) : row(problem.width + 2), cells((problem.height + 2) * row) {}
};

// Of all planes of a job of several groups: beyond this they leave the cache.
constexpr int64_t kMostCells = 1 << 14;
// Enough for long runs; more only where whole planes have too few pixels to fill a batch.
constexpr int64_t kGroupsTogether = 16;
// Jobs for each thread, of which some may be slower than others.
constexpr int64_t kJobsPerThread = 4;

// Groups lie side by side in memory: as many as fit are worked on together, so that offsets, logits and outputs are read and written in
// long runs, but no thread is left without jobs. The order of the sums within a group is the same in every tiling.
struct Tiling {
  int64_t groups;  // planes that a job holds
  int64_t rows, columns;

  Tiling(const Problem& problem, int points) {
    int64_t most = std::max<int64_t>(1, points / problem.points());
    const int64_t shared = problem.threads > 1 ? problem.images * problem.groups / (kJobsPerThread * problem.threads) : problem.groups;
    const int64_t useful = std::max(kGroupsTogether, most / problem.pixels());
    groups = std::clamp<int64_t>(std::min({most, useful, shared, kMostCells / Bordered(problem).cells}), 1, problem.groups);
    while (problem.groups % groups) --groups;  // every job alike
    most /= groups;
    rows = std::clamp<int64_t>(most / problem.out_width, 1, problem.out_height);
    const int64_t segments = (problem.out_width + most - 1) / most;
    columns = (problem.out_width + segments - 1) / segments;
  }
};

}  // namespace dcnv3
