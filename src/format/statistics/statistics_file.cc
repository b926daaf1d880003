#include "format/statistics/statistics_file.h"

#include <algorithm>

#include "base/quote.h"

namespace cria {

Result<StatisticsView> StatisticsView::create(std::span<const std::byte> bytes,
                                              std::string_view what) {
  StatisticsView view;
  CRIA_ASSIGN_OR_RETURN(view.header_, decode_statistics_header(bytes, what));
  view.bytes_ = bytes;
  view.layout_ = layout_of(view.header_);
  for (std::size_t i = 0; i < view.header_.inputs.size(); ++i) {
    const StatisticsInput& input = view.header_.inputs[i];
    WordChecksum checksum;
    checksum.add(bytes.subspan(view.layout_.sums[i], sums_bytes(input.n_cols)));
    if (checksum.value() != input.sums_checksum) {
      return bad_input(
          "{}: the file is damaged: the sums of {} have checksum {:#x}, expected {:#x}", what,
          quote(input.name), checksum.value(), input.sums_checksum);
    }
  }
  return view;
}

std::int64_t StatisticsView::find(std::string_view input_name) const {
  const auto found = std::ranges::find(header_.inputs, input_name, &StatisticsInput::name);
  return found == header_.inputs.end() ? -1 : found - header_.inputs.begin();
}

std::span<const FixedSum> StatisticsView::sums(std::size_t input, std::int64_t which) const {
  const auto n_cols = static_cast<std::size_t>(header_.inputs[input].n_cols);
  const auto* first = reinterpret_cast<const FixedSum*>(bytes_.data() + layout_.sums[input]);
  return {first + static_cast<std::size_t>(which) * n_cols, n_cols};
}

std::span<const std::int64_t> StatisticsView::triangle(std::size_t input) const {
  if (!header_.has_hessian) return {};
  const std::int64_t n_cols = header_.inputs[input].n_cols;
  return {reinterpret_cast<const std::int64_t*>(bytes_.data() + layout_.triangles[input]),
          static_cast<std::size_t>(triangle_row(n_cols, n_cols))};
}

Status StatisticsView::check_triangle(std::size_t input, std::string_view what) const {
  const std::span<const std::int64_t> entries = triangle(input);
  WordChecksum checksum;
  checksum.add(std::as_bytes(entries));
  const StatisticsInput& described = header_.inputs[input];
  if (checksum.value() != described.hessian_checksum) {
    return bad_input(
        "{}: the file is damaged: the Hessian of {} has checksum {:#x}, expected {:#x}", what,
        quote(described.name), checksum.value(), described.hessian_checksum);
  }
  const auto beyond = [](std::int64_t entry) {
    return entry > kLargestProduct || entry < -kLargestProduct;
  };
  if (std::ranges::any_of(entries, beyond)) {
    return bad_input("{}: the Hessian of {} has an entry beyond 2^62 units", what,
                     quote(described.name));
  }
  return {};
}

Result<StatisticsFile> StatisticsFile::open(const std::string& path) {
  CRIA_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(path));
  CRIA_ASSIGN_OR_RETURN(StatisticsView view, StatisticsView::create(file.bytes(), path));
  return StatisticsFile(std::move(file), std::move(view));
}

void StatisticsFile::forget_triangle(std::size_t input) const {
  const std::uint64_t size = triangle_bytes(view_.header().inputs[input].n_cols);
  if (view_.header().has_hessian) file_.forget(view_.layout().triangles[input], size);
}

}  // namespace cria
