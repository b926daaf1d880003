// What it costs a model that one of its matrices is rounded.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cria/progress.h"
#include "runtime/program.h"
#include "tensor/encoding.h"

namespace cria {

class Tokenizer;

// A matrix of two programs of one model: dense in the one that is measured, rounded in the probe.
struct ProbedMatrix {
  std::string name;  // of the named data
  std::int64_t n_rows = 0;
  std::int64_t n_cols = 0;
  Encoding dense = Encoding::kF32;
  Encoding rounded = Encoding::kQ4;
};

struct SensitivityRequest {
  std::shared_ptr<Program> program;      // loaded for edits; all matrices dense, for the CPU
  std::shared_ptr<const Program> probe;  // the same graph, matrices rounded, for the CPU
  std::vector<ProbedMatrix> matrices;
  std::vector<std::vector<std::int32_t>> windows;  // of one length; all tokens are scored
  int n_threads = 0;
  Progress progress;  // step "sensitivity", in matrices
};

// Windows of n_ctx tokens, n_windows at most, spread over the text, which may go from one subject
// to the next. kBadInput: the text is shorter than a window.
Result<std::vector<std::vector<std::int32_t>>> sensitivity_windows(const Tokenizer& tokenizer,
                                                                   std::string_view text,
                                                                   std::int64_t n_ctx,
                                                                   std::int64_t n_windows);

// The mean KL(program || program with that matrix as the probe has it), nats, of each matrix. One
// matrix differs at a time, and the program is as it was afterwards. Time: for each, a pass over
// the windows through what lies behind it in the model. Memory: twice the logits of the windows,
// and the activations at one place of the model (model_tail.h). REQUIRES: a window, and no empty
// one.
Result<std::vector<double>> measure_sensitivities(const SensitivityRequest& request);

}  // namespace cria
