// Which matrix gets which encoding when all of them must fit into so many bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"

namespace cria {

// One way to store a matrix.
struct AllocationChoice {
  std::uint64_t size_bytes = 0;
  double cost = 0;  // what is lost with it: not negative, in any unit that adds up
};

struct Allocation {
  std::vector<std::size_t> choice;  // of each matrix
  std::uint64_t size_bytes = 0;
  double cost = 0;
};

// The choices with the smallest sum of costs among all whose sizes sum up to at most
// `budget_bytes`: exact, by dynamic programming over the sums that no other beats in both size and
// cost. Ties go to the smaller size. kInvalidArgument: even the smallest choices need more, saying
// how much. kOutOfResources: more than 2^24 such sums (sizes without a common measure).
// REQUIRES: no list is empty.
Result<Allocation> allocate_bytes(std::span<const std::vector<AllocationChoice>> matrices,
                                  std::uint64_t budget_bytes);

}  // namespace cria
