// Rows of a matrix whose numbers do not lie one after another in their file: layouts that are
// transposed, interleaved or spread over several tensors.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "tensor/encoding.h"
#include "tensor/row_codes.h"

namespace cria {

// Whether `encoding` is `wide`, or differs from it in nothing but narrower blocks, 32, 64 or 128
// columns: it then holds whatever `wide` holds, with scales written several times.
bool has_codes_of(Encoding wide, Encoding encoding);

// One stored matrix [n_rows, n_cols]; rows are output features. Refers to bytes that it does not
// own. Thread-safety: const methods are safe from any thread.
class RowSource {
 public:
  virtual ~RowSource() = default;

  // Bytes that the matrix takes in its file, all its tensors together.
  virtual std::uint64_t stored_bytes() const = 0;
  // How it is stored, for people: "GPTQ 4 bits".
  virtual std::string description() const = 0;

  // The encoding that holds every number of the matrix exactly; if there is none (why_inexact()
  // says why), the one to round to.
  virtual Encoding encoding() const = 0;
  virtual const std::string& why_inexact() const = 0;  // empty: encoding() is exact

  // The scalar specification: one row as floats. out.size() == n_cols.
  virtual void decode_row(std::int64_t row, std::span<float> out) const = 0;
  // The same row as codes and scales: decode_codes(split_row(r)) == decode_row(r), bit for bit.
  // REQUIRES: why_inexact() is empty; `out` was sized for n_cols and an encoding with the codes of
  // encoding() (has_codes_of()).
  virtual void split_row(std::int64_t row, RowCodes& out) const = 0;
};

}  // namespace cria
