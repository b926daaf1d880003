// The statistics that `cria calibrate` wrote, for quantizers.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "format/statistics/statistics_header.h"
#include "quantize/statistics.h"

namespace cria {

// Opens and checks a file (docs/statistics.md). Sums are checked now, each Hessian when it is asked
// for. `model`: of the checkpoint that will be quantized (model/fingerprint.h). kBadInput: damaged,
// or statistics of another model; the message says what differs. The file stays mapped.
Result<std::unique_ptr<Statistics>> open_statistics(const std::string& path,
                                                    const ModelFingerprint& model);

}  // namespace cria
