// Compiling a program only if it is good enough.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "cria/evaluate.h"
#include "cria/status.h"
#include "cria/toolchain.h"

namespace cria {

struct QualityGate {
  std::string text;              // what both are evaluated on
  std::int64_t n_ctx = 0;        // tokens a window; 0: 512, or all that the program's context has
  std::int64_t max_windows = 0;  // 0: all of the text
  // Against the source as it is stored, with float activations. Absent: no limit.
  std::optional<double> max_kl;                // of the mean KL(source || program), nats
  std::optional<double> max_ppl_loss_percent;  // perplexity above the source's
};

struct GatedReport {
  CompileReport compile;
  EvaluateReport quality;  // with reference
};

// compile(), then evaluate() against the source; the program gets its name only if no limit is
// exceeded. While it is measured neither it nor the source's program, both on the disk of
// `out_path`, have a name, so that nothing is left of a run that ends in any way before.
// kBadInput: the text is shorter than a window. kUnsupported: a limit is exceeded, with the
// figures.
Result<GatedReport> compile_gated(const CompileOptions& options, const QualityGate& gate,
                                  const std::string& out_path);

}  // namespace cria
