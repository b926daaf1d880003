#include "format/statistics/merge_statistics.h"

#include <algorithm>
#include <vector>

#include "base/partial_file.h"

namespace cria {
namespace {

constexpr std::int64_t kChunkEntries = 1 << 18;  // of a triangle at a time

Status check_fits(const StatisticsFile& part, const StatisticsFile& first) {
  const StatisticsHeader& a = part.header();
  const StatisticsHeader& b = first.header();
  const std::string difference = describe_difference(a.model, b.model);
  if (!difference.empty()) {
    return bad_input("{}: statistics of another model than {}: {}", part.path(), first.path(),
                     difference);
  }
  if (a.window_tokens != b.window_tokens) {
    return bad_input("{}: windows of {} tokens, {} has windows of {}", part.path(), a.window_tokens,
                     first.path(), b.window_tokens);
  }
  if (a.has_hessian != b.has_hessian) {
    return bad_input("{}: {} Hessians, {} {}", part.path(), a.has_hessian ? "has" : "has no",
                     first.path(), b.has_hessian ? "has them" : "has none");
  }
  const auto same = [](const StatisticsInput& x, const StatisticsInput& y) {
    return x.name == y.name && x.n_cols == y.n_cols;
  };
  if (!std::ranges::equal(a.inputs, b.inputs, same)) {
    return bad_input("{}: other inputs than {} has", part.path(), first.path());
  }
  return {};
}

class Merger {
 public:
  Merger(std::span<const StatisticsFile> parts, const Progress& progress)
      : parts_(parts), progress_(progress) {}

  Status run(const std::string& out_path) {
    header_ = parts_[0].header();
    std::vector<TextRange> ranges;
    for (const StatisticsFile& part : parts_) {
      CRIA_RETURN_IF_ERROR(check_fits(part, parts_[0]));
      ranges.insert(ranges.end(), part.header().texts.begin(), part.header().texts.end());
    }
    CRIA_ASSIGN_OR_RETURN(header_.texts, join_ranges(std::move(ranges)));
    CRIA_RETURN_IF_ERROR(check_statistics_header(header_, out_path));
    layout_ = layout_of(header_);
    CRIA_ASSIGN_OR_RETURN(out_, PartialFile::create(out_path, layout_.file_bytes));
    for (std::size_t i = 0; i < header_.inputs.size(); ++i) {
      CRIA_RETURN_IF_ERROR(add_sums(i));
      if (header_.has_hessian) CRIA_RETURN_IF_ERROR(add_triangles(i));
    }
    CRIA_RETURN_IF_ERROR(out_.write_at(0, encode_statistics_header(header_)));
    CRIA_RETURN_IF_ERROR(report(layout_.file_bytes));
    return out_.commit();
  }

 private:
  Status report(std::uint64_t done) const {
    if (!progress_ || progress_("merge", done, layout_.file_bytes)) return {};
    return cancelled("merging was cancelled");
  }

  Status too_large(std::size_t input) const {
    return out_of_resources("the sums of {} over all parts do not fit", header_.inputs[input].name);
  }

  Status add_sums(std::size_t input) {
    std::vector<FixedSum> sums(2 * static_cast<std::size_t>(header_.inputs[input].n_cols));
    for (const StatisticsFile& part : parts_) {
      const FixedSum* from = part.view().squares(input).data();  // absolutes follow
      for (std::size_t i = 0; i < sums.size(); ++i) {
        if (!add_to(sums[i], from[i])) return too_large(input);
      }
    }
    const auto bytes = std::as_bytes(std::span(sums));
    WordChecksum checksum;
    checksum.add(bytes);
    header_.inputs[input].sums_checksum = checksum.value();
    return out_.write_at(layout_.sums[input], bytes);
  }

  Status add_triangles(std::size_t input) {
    for (const StatisticsFile& part : parts_) CRIA_RETURN_IF_ERROR(part.check_triangle(input));
    const std::int64_t n_cols = header_.inputs[input].n_cols;
    const std::int64_t n_entries = triangle_row(n_cols, n_cols);
    std::vector<std::int64_t> chunk;
    WordChecksum checksum;
    for (std::int64_t first = 0; first < n_entries; first += kChunkEntries) {
      const auto at = static_cast<std::size_t>(first);
      chunk.assign(static_cast<std::size_t>(std::min(kChunkEntries, n_entries - first)), 0);
      for (const StatisticsFile& part : parts_) {
        const std::int64_t* from = part.view().triangle(input).data() + at;
        for (std::size_t i = 0; i < chunk.size(); ++i) {
          chunk[i] += from[i];  // both within 2^62
          if (chunk[i] > kLargestProduct || chunk[i] < -kLargestProduct) return too_large(input);
        }
      }
      const auto bytes = std::as_bytes(std::span(chunk));
      checksum.add(bytes);
      const std::uint64_t offset = layout_.triangles[input] + at * sizeof(std::int64_t);
      CRIA_RETURN_IF_ERROR(out_.write_at(offset, bytes));
      CRIA_RETURN_IF_ERROR(report(offset));
    }
    header_.inputs[input].hessian_checksum = checksum.value();
    for (const StatisticsFile& part : parts_) part.forget_triangle(input);
    return {};
  }

  std::span<const StatisticsFile> parts_;
  const Progress& progress_;
  StatisticsHeader header_;
  StatisticsLayout layout_;
  PartialFile out_;
};

}  // namespace

Status merge_statistics(std::span<const StatisticsFile> parts, const std::string& out_path,
                        const Progress& progress) {
  if (parts.empty()) return invalid_argument("no statistics to merge");
  return Merger(parts, progress).run(out_path);
}

}  // namespace cria
