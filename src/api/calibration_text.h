// Texts for calibration as token ids.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "base/result.h"
#include "cria/calibrate.h"
#include "tokenizer/tokenizer.h"

namespace cria {

// The ids of a whole text, conversations one after the other. kBadInput names the file and the
// line.
Result<std::vector<std::int32_t>> calibration_ids(const Tokenizer& tokenizer,
                                                  const CalibrationText& text);

// What tells one text from another: of its ids.
std::uint64_t ids_hash(std::span<const std::int32_t> ids);

}  // namespace cria
