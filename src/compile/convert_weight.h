// A weight of a checkpoint -> the packed panels of a target, a few panels at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "base/result.h"
#include "base/thread_pool.h"
#include "model/checkpoint.h"
#include "quantize/rtn.h"
#include "tensor/encoding.h"

namespace cria {

// Converts by the way that loses least: codes are carried over as they are when `encoding` is the
// native one of the storage type, else rows of floats are rounded (dense encodings) or quantized.
// The stored weight must outlive it. Not thread-safe; works on the pool's threads.
class WeightConverter {
 public:
  // kBadInput if the bytes of `stored` do not fit its shape; kUnsupported if floats cannot be
  // rounded to `encoding`.
  static Result<WeightConverter> create(const StoredWeight& stored, Encoding encoding);

  std::int64_t n_panels() const { return n_panels_; }
  std::size_t panel_bytes() const { return panel_bytes_; }

  // Panels [first, first + out.size() / panel_bytes()) into `out`. The same bytes whatever the
  // number of threads. kBadInput, with tensor and row: not a number, infinity, or a weight that the
  // encoding cannot hold.
  Status convert(ThreadPool& pool, std::int64_t first, std::span<std::byte> out);

  // What was lost in the panels converted so far.
  const QuantizeError& error() const { return error_; }

 private:
  enum class Way { kCarryCodes, kRoundFloats, kQuantize };
  struct Scratch;  // one a thread

  WeightConverter(const StoredWeight& stored, Encoding encoding, Way way);
  Status convert_panel(std::int64_t panel, std::span<std::byte> out, Scratch& scratch,
                       QuantizeError& error) const;
  Status round_floats(std::int64_t row, int n_rows, std::span<std::byte> out, Scratch& scratch,
                      QuantizeError& error) const;
  // scratch.floats -> codes.
  Result<QuantizeError> quantize(Scratch& scratch, RowCodes& codes) const;
  Status in_row(std::int64_t row, Status status) const;

  const StoredWeight* stored_;
  Encoding encoding_;
  Way way_;
  std::int64_t n_panels_;
  std::size_t panel_bytes_;
  QuantizeError error_;
};

// A vector as float32. kBadInput as above.
Result<std::vector<float>> convert_vector(const StoredWeight& stored);

// kBadInput if the bytes do not fit the shape.
Status check_stored(const StoredWeight& stored);

// Whether WeightConverter carries codes over as they are.
bool carries_codes(const StoredWeight& stored, Encoding encoding);

// What a weight whose codes are kept is stored as: its native encoding, in narrower blocks that
// hold the same codes where the device takes only those. Empty: it takes all.
Encoding kept_encoding(const StoredWeight& stored, const std::function<bool(Encoding)>& takes);

// One row as floats. kBadInput, with tensor, row and column: not a number, infinity.
// REQUIRES: check_stored(stored), out.size() == stored.n_cols.
Status decode_finite_row(const StoredWeight& stored, std::int64_t row, std::span<float> out);

// What rows [first_row, ...) of floats lose in a dense encoding. kBadInput, with tensor, row and
// column: beyond the encoding's range.
Status measure_dense_rows(const StoredWeight& stored, Encoding encoding,
                          std::span<const float> rows, std::int64_t first_row,
                          QuantizeError& error);

}  // namespace cria
