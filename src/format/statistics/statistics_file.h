// A file of calibration statistics, mapped and read in place.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/mapped_file.h"
#include "base/result.h"
#include "format/statistics/fixed_point.h"
#include "format/statistics/statistics_header.h"

namespace cria {

// Spans live as long as the bytes (the file). Thread-safety: const methods are safe from any
// thread.
class StatisticsView {
 public:
  // decode_statistics_header, and the checksums of the column sums must be right.
  static Result<StatisticsView> create(std::span<const std::byte> bytes, std::string_view what);

  const StatisticsHeader& header() const { return header_; }
  const StatisticsLayout& layout() const { return layout_; }
  // Index of an input; -1: none of this name.
  std::int64_t find(std::string_view input_name) const;

  std::span<const FixedSum> squares(std::size_t input) const { return sums(input, 0); }
  std::span<const FixedSum> absolutes(std::size_t input) const { return sums(input, 1); }
  // The upper triangle; empty without Hessians. Not checked.
  std::span<const std::int64_t> triangle(std::size_t input) const;
  // Reads all of the triangle. kBadInput when its checksum is wrong, or an entry beyond what sums
  // of products can be.
  Status check_triangle(std::size_t input, std::string_view what) const;

 private:
  std::span<const FixedSum> sums(std::size_t input, std::int64_t which) const;
  std::span<const std::byte> bytes_;
  StatisticsHeader header_;
  StatisticsLayout layout_;
};

// A view that owns its mapping. Movable.
class StatisticsFile {
 public:
  static Result<StatisticsFile> open(const std::string& path);

  const StatisticsView& view() const { return view_; }
  const StatisticsHeader& header() const { return view_.header(); }
  const std::string& path() const { return file_.path(); }
  Status check_triangle(std::size_t input) const { return view_.check_triangle(input, path()); }
  // The pages of an input's triangle will not be needed soon.
  void forget_triangle(std::size_t input) const;

 private:
  StatisticsFile(MappedFile file, StatisticsView view)
      : file_(std::move(file)), view_(std::move(view)) {}
  MappedFile file_;
  StatisticsView view_;
};

}  // namespace cria
