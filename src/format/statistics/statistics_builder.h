// Writes files of statistics in memory: test support. Slow and plain: the specification of what
// `cria calibrate` writes for given activations.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "format/statistics/statistics_header.h"

namespace cria {

// The fingerprint of no model in particular.
ModelFingerprint fingerprint_for_test();

class StatisticsBuilder {
 public:
  explicit StatisticsBuilder(std::int64_t window_tokens, bool with_hessian = true,
                             ModelFingerprint model = fingerprint_for_test());

  // "blk.0.attn_in", 16 columns. Before the first window.
  StatisticsBuilder& input(const std::string& name, std::int64_t n_cols);
  // The next window: for each input its rows, row-major [window_tokens, n_cols].
  StatisticsBuilder& window(const std::map<std::string, std::vector<float>>& rows);
  // Windows are counted from here, and are of this text.
  StatisticsBuilder& start_at(std::int64_t first_window, std::uint64_t text_hash = 1);

  std::string bytes() const;  // of the file

 private:
  StatisticsHeader header_;
  std::vector<std::vector<std::byte>> sums_;          // [inputs] FixedSum
  std::vector<std::vector<std::int64_t>> triangles_;  // [inputs]
};

}  // namespace cria
