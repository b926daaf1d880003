// The language model inside a compiled program.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "llm/language_model.h"
#include "llm/pacer.h"
#include "runtime/executor.h"

namespace cria {

// Methods: `decode` (one token, or more); `prefill` (a chunk of a prompt, logits of its last token)
// and `verify` (logits of every token) where the program has them. All have the inputs tokens int64
// [1, n] and input_pos int64 [1], the output logits float32 [1, rows, n_vocab] and the same state
// (the cache). Constant methods, all optional: get_vocab_size, get_max_context_len, get_bos_id,
// get_eos_ids.
class ProgramModel : public LanguageModel {
 public:
  // kNotFound: no decode method. kUnsupported: methods of another kind, or what Executor::create
  // says. kBadInput: methods and constants that contradict each other.
  static Result<std::unique_ptr<ProgramModel>> create(std::shared_ptr<const Program> program,
                                                      const DelegateRegistry& registry,
                                                      const ExecutorOptions& options = {});

  const LanguageModelInfo& info() const override { return info_; }
  const Executor& executor() const { return *executor_; }
  // The methods it uses, for reports of what runs where: "prefill", "decode", "verify".
  const std::vector<std::string>& method_names() const { return method_names_; }
  // From now on steps of one token start at most so many a second; 0: as fast as they go.
  void pace(double steps_per_second) { pacer_ = Pacer(steps_per_second); }
  // The one of them that runs a step.
  std::string_view method_of_step(std::int64_t n_tokens, LogitRows rows) const;

 protected:
  Status step(std::span<const std::int32_t> ids, KvCache& cache, LogitRows rows,
              std::span<float> logits) override;

 private:
  ProgramModel() = default;
  Status read_method(const std::string& name);
  Status read_constants();

  std::unique_ptr<Executor> executor_;
  std::vector<std::string> method_names_;
  LanguageModelInfo info_;
  std::vector<std::int64_t> tokens_;  // of a step
  Pacer pacer_;
};

}  // namespace cria
