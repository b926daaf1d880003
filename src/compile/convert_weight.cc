#include "compile/convert_weight.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "tensor/float16.h"
#include "tensor/packing.h"
#include "tensor/pairs.h"
#include "tensor/row_codes.h"

namespace cria {
namespace {

// The largest number that rounds to a finite half float: 65504 and half a step.
constexpr float kHalfLimit = 65520.0f;

Status check_finite(std::span<const float> row) {
  for (std::size_t column = 0; column < row.size(); ++column) {
    if (!std::isfinite(row[column])) {
      return bad_input("column {} is {}, expected a finite number", column, row[column]);
    }
  }
  return Status();
}

Status in_row(const StoredWeight& stored, std::int64_t row, Status status) {
  if (status.ok()) return status;
  return std::move(status).with_context(fmt::format("{}, row {}", stored.file_name, row));
}

bool half_is_finite(std::uint16_t half) { return (half & 0x7c00) != 0x7c00; }

// Codes that are carried over are finite if their scales are.
Status check_scales(const RowCodes& row) {
  for (const auto* halves : {&row.scales_f16, &row.mins_f16, &row.super_scales, &row.super_mins}) {
    if (!std::all_of(halves->begin(), halves->end(), half_is_finite)) {
      return bad_input("a block's scale is not finite");
    }
  }
  if (encoding_spec(row.encoding).scale == ScaleKind::kE8M0) {
    // 12 * 2^(e - 128) is finite up to e = 252.
    const auto bad = std::find_if(row.scales_8.begin(), row.scales_8.end(),
                                  [](std::uint8_t e) { return e > 252; });
    if (bad != row.scales_8.end()) return bad_input("a block's scale is 2^{}", int{*bad} - 128);
  }
  return Status();
}

// What a float becomes in a dense encoding.
float rounded_to(Encoding encoding, float value) {
  switch (encoding) {
    case Encoding::kF16:
      return f16_to_f32(f32_to_f16(value));
    case Encoding::kBF16:
      return bf16_to_f32(f32_to_bf16(value));
    default:
      return value;
  }
}

}  // namespace

struct WeightConverter::Scratch {
  std::vector<float> floats;
  std::vector<RowCodes> rows;
  std::optional<RowCodes> plain;  // before they become pairs
};

WeightConverter::WeightConverter(const StoredWeight& stored, Encoding encoding, Way way)
    : stored_(&stored),
      encoding_(encoding),
      way_(way),
      n_panels_((stored.n_rows + kPanelRows - 1) / kPanelRows),
      panel_bytes_(panel_layout(encoding, stored.n_cols).size_bytes) {}

Result<WeightConverter> WeightConverter::create(const StoredWeight& stored, Encoding encoding) {
  CRIA_RETURN_IF_ERROR(check_stored(stored));
  Way way = Way::kQuantize;
  if (encoding_spec(encoding).dense()) {
    way = Way::kRoundFloats;
  } else if (carries_codes(stored, encoding)) {
    way = Way::kCarryCodes;
  } else if (!can_quantize(encoding) && encoding_spec(encoding).codebook != Codebook::kPairs) {
    return unsupported("{}: {} cannot be made from {}", stored.file_name,
                       encoding_spec(encoding).name, stored.type_name());
  }
  return WeightConverter(stored, encoding, way);
}

Status WeightConverter::convert(ThreadPool& pool, std::int64_t first, std::span<std::byte> out) {
  const auto n = static_cast<std::int64_t>(out.size() / panel_bytes_);
  std::vector<Scratch> scratches(pool.n_threads());
  std::vector<QuantizeError> errors(n);
  std::vector<Status> statuses(n);
  pool.parallel_for(n, [&](std::int64_t i, int thread) {
    statuses[i] = convert_panel(first + i, out.subspan(i * panel_bytes_, panel_bytes_),
                                scratches[thread], errors[i]);
  });
  // In the order of the rows, so that sums and messages do not depend on the threads.
  for (std::int64_t i = 0; i < n; ++i) {
    CRIA_RETURN_IF_ERROR(std::move(statuses[i]));
    error_.add(errors[i]);
  }
  return Status();
}

Status WeightConverter::convert_panel(std::int64_t panel, std::span<std::byte> out,
                                      Scratch& scratch, QuantizeError& error) const {
  const std::int64_t first = panel * kPanelRows;
  const int n_rows = static_cast<int>(std::min<std::int64_t>(kPanelRows, stored_->n_rows - first));
  if (way_ == Way::kRoundFloats) return round_floats(first, n_rows, out, scratch, error);
  if (scratch.rows.empty()) scratch.rows.assign(kPanelRows, RowCodes(encoding_, stored_->n_cols));
  scratch.floats.resize(stored_->n_cols);
  for (int i = 0; i < n_rows; ++i) {
    RowCodes& codes = scratch.rows[i];
    if (way_ == Way::kCarryCodes) {
      stored_->split_row(first + i, codes);
      CRIA_RETURN_IF_ERROR(in_row(first + i, check_scales(codes)));
      continue;
    }
    stored_->decode_row(first + i, scratch.floats);
    Result<QuantizeError> row_error = quantize(scratch, codes);
    if (!row_error.ok()) return in_row(first + i, std::move(row_error).status());
    error.add(*row_error);
  }
  pack_panel(std::span(scratch.rows).first(n_rows), out);
  return Status();
}

Result<QuantizeError> WeightConverter::quantize(Scratch& scratch, RowCodes& codes) const {
  if (encoding_spec(encoding_).codebook != Codebook::kPairs) {
    return quantize_row(scratch.floats, codes);
  }
  const Encoding plain = encoding_ == Encoding::kQ4S24 ? Encoding::kQ4 : Encoding::kQ8;
  if (!scratch.plain) scratch.plain.emplace(plain, stored_->n_cols);
  CRIA_ASSIGN_OR_RETURN(const QuantizeError error, quantize_row(scratch.floats, *scratch.plain));
  if (pairs_of_codes(*scratch.plain, codes)) return error;
  return bad_input("more than two of four columns are not zero, expected at most two for {}",
                   encoding_spec(encoding_).name);
}

Status WeightConverter::round_floats(std::int64_t first, int n_rows, std::span<std::byte> out,
                                     Scratch& scratch, QuantizeError& error) const {
  const std::int64_t n_cols = stored_->n_cols;
  scratch.floats.resize(kPanelRows * n_cols);
  for (int i = 0; i < n_rows; ++i) {
    const std::span<float> row = std::span(scratch.floats).subspan(i * n_cols, n_cols);
    CRIA_RETURN_IF_ERROR(decode_finite_row(*stored_, first + i, row));
  }
  const auto rows = std::span(scratch.floats).first(n_rows * n_cols);
  if (!stored_->is_exact(encoding_)) {
    CRIA_RETURN_IF_ERROR(measure_dense_rows(*stored_, encoding_, rows, first, error));
  }
  pack_dense_panel(encoding_, rows, n_cols, out);
  return Status();
}

Status WeightConverter::in_row(std::int64_t row, Status status) const {
  return cria::in_row(*stored_, row, std::move(status));
}

Status check_stored(const StoredWeight& stored) {
  if (stored.source) return Status();  // was checked when it was made
  const StorageSpec& spec = storage_spec(stored.type);
  if (stored.n_rows <= 0 || stored.n_cols <= 0 || stored.n_cols % spec.block_elements != 0) {
    return bad_input("{}: {} x {} of {}, expected rows of a multiple of {}", stored.file_name,
                     stored.n_rows, stored.n_cols, spec.name, spec.block_elements);
  }
  const std::size_t row_bytes = storage_row_bytes(stored.type, stored.n_cols);
  if (stored.bytes.size() / row_bytes != static_cast<std::size_t>(stored.n_rows) ||
      stored.bytes.size() % row_bytes != 0) {
    return bad_input("{}: {} bytes, expected {} rows of {}", stored.file_name, stored.bytes.size(),
                     stored.n_rows, row_bytes);
  }
  return Status();
}

bool carries_codes(const StoredWeight& stored, Encoding encoding) {
  return !encoding_spec(encoding).dense() && stored.is_exact(encoding);
}

Encoding kept_encoding(const StoredWeight& stored, const std::function<bool(Encoding)>& takes) {
  const Encoding native = stored.native_encoding();
  if (!takes) return native;
  Encoding kept = native;
  for (const int block : {128, 64, 32}) {
    if (takes(kept)) break;
    const std::optional<Encoding> narrow = encoding_with_block(native, block);
    if (narrow && stored.is_exact(*narrow)) kept = *narrow;
  }
  return kept;
}

Status decode_finite_row(const StoredWeight& stored, std::int64_t row, std::span<float> out) {
  stored.decode_row(row, out);
  return in_row(stored, row, check_finite(out));
}

Status measure_dense_rows(const StoredWeight& stored, Encoding encoding,
                          std::span<const float> rows, std::int64_t first_row,
                          QuantizeError& error) {
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const float rounded = rounded_to(encoding, rows[i]);
    if (!std::isfinite(rounded)) {
      const auto at = static_cast<std::int64_t>(i);
      return in_row(stored, first_row + at / stored.n_cols,
                    bad_input("column {} is {}, beyond {} (at most {}); use recipe f32 or bf16",
                              at % stored.n_cols, rows[i], encoding_spec(encoding).name,
                              encoding == Encoding::kF16 ? kHalfLimit : 3.39e38f));
    }
    const double off = static_cast<double>(rows[i]) - rounded;
    error.error_sum += off * off;
    error.weight_sum += static_cast<double>(rows[i]) * rows[i];
    error.largest = std::max(error.largest, std::fabs(off));
  }
  return Status();
}

Result<std::vector<float>> convert_vector(const StoredWeight& stored) {
  CRIA_RETURN_IF_ERROR(check_stored(stored));
  if (stored.n_rows != 1) {
    return bad_input("{}: {} rows, expected a vector", stored.file_name, stored.n_rows);
  }
  std::vector<float> floats(stored.n_cols);
  stored.decode_row(0, floats);
  CRIA_RETURN_IF_ERROR(check_finite(floats).with_context(stored.file_name));
  return floats;
}

}  // namespace cria
