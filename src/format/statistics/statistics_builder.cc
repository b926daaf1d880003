#include "format/statistics/statistics_builder.h"

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "format/statistics/fixed_point.h"

namespace cria {

ModelFingerprint fingerprint_for_test() {
  return {.n_layers = 2,
          .hidden = 16,
          .ffn = 32,
          .n_heads = 2,
          .n_kv_heads = 1,
          .head_dim = 8,
          .n_vocab = 10,
          .weight_hashes = {11, 22, 33}};
}

StatisticsBuilder::StatisticsBuilder(std::int64_t window_tokens, bool with_hessian,
                                     ModelFingerprint model) {
  header_.model = std::move(model);
  header_.window_tokens = window_tokens;
  header_.has_hessian = with_hessian;
  header_.texts = {{.text_hash = 1}};
}

StatisticsBuilder& StatisticsBuilder::start_at(std::int64_t first_window, std::uint64_t text_hash) {
  header_.texts = {{text_hash, first_window, 0}};
  return *this;
}

StatisticsBuilder& StatisticsBuilder::input(const std::string& name, std::int64_t n_cols) {
  header_.inputs.push_back({name, n_cols});
  sums_.emplace_back(sums_bytes(n_cols));
  triangles_.emplace_back(
      header_.has_hessian ? static_cast<std::size_t>(triangle_row(n_cols, n_cols)) : 0);
  return *this;
}

StatisticsBuilder& StatisticsBuilder::window(
    const std::map<std::string, std::vector<float>>& rows) {
  const std::int64_t n_tokens = header_.window_tokens;
  for (std::size_t i = 0; i < header_.inputs.size(); ++i) {
    const std::int64_t n_cols = header_.inputs[i].n_cols;
    const std::vector<float>& x = rows.at(header_.inputs[i].name);
    if (std::ssize(x) != n_tokens * n_cols) std::abort();
    const auto at = [&](std::int64_t t, std::int64_t c) {
      return static_cast<double>(x[static_cast<std::size_t>(t * n_cols + c)]);
    };
    auto* sums = reinterpret_cast<FixedSum*>(sums_[i].data());
    for (std::int64_t c = 0; c < n_cols; ++c) {
      double squares = 0, absolutes = 0;
      for (std::int64_t t = 0; t < n_tokens; ++t) {
        squares += at(t, c) * at(t, c);
        absolutes += std::fabs(at(t, c));
      }
      if (!add_to(sums[c], to_fixed_sum(squares))) std::abort();
      if (!add_to(sums[n_cols + c], to_fixed_sum(absolutes))) std::abort();
    }
    std::int64_t* entry = triangles_[i].data();
    for (std::int64_t c = 0; c < n_cols && header_.has_hessian; ++c) {
      for (std::int64_t d = c; d < n_cols; ++d) {
        double product = 0;
        for (std::int64_t t = 0; t < n_tokens; ++t) product += at(t, c) * at(t, d);
        *entry++ += to_fixed_product(product);
      }
    }
  }
  ++header_.texts[0].n_windows;
  return *this;
}

std::string StatisticsBuilder::bytes() const {
  StatisticsHeader header = header_;
  const StatisticsLayout layout = layout_of(header);
  std::string bytes(layout.file_bytes, '\0');
  for (std::size_t i = 0; i < header.inputs.size(); ++i) {
    WordChecksum sums_checksum;
    sums_checksum.add(sums_[i]);
    header.inputs[i].sums_checksum = sums_checksum.value();
    std::memcpy(bytes.data() + layout.sums[i], sums_[i].data(), sums_[i].size());
    if (!header.has_hessian) continue;
    const auto triangle = std::as_bytes(std::span(triangles_[i]));
    WordChecksum hessian_checksum;
    hessian_checksum.add(triangle);
    header.inputs[i].hessian_checksum = hessian_checksum.value();
    std::memcpy(bytes.data() + layout.triangles[i], triangle.data(), triangle.size());
  }
  const std::vector<std::byte> head = encode_statistics_header(header);
  std::memcpy(bytes.data(), head.data(), head.size());
  return bytes;
}

}  // namespace cria
