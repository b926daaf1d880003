// Statistics of shards of a text, added up.
#pragma once

#include <span>
#include <string>

#include "base/result.h"
#include "cria/progress.h"
#include "format/statistics/statistics_file.h"

namespace cria {

// Writes to `out_path`, all or nothing, what one run over all windows of all parts writes, byte for
// byte, whatever the order. Streams: holds a few MB. kInvalidArgument: no parts; kBadInput: parts
// of different models, of other windows or of the same window, damaged ones; kOutOfResources: sums
// that no longer fit. Progress: step "merge", in bytes.
Status merge_statistics(std::span<const StatisticsFile> parts, const std::string& out_path,
                        const Progress& progress);

}  // namespace cria
