#include "npu_arguments.h"

#include "model_arguments.h"

namespace cria::cli {

void add_npu_arguments(CLI::App& command, NpuModelOptions& options) {
  const auto sizes = CLI::Range(std::int64_t{1}, std::int64_t{1} << 24);
  command
      .add_option("MODEL", options.model,
                  "a checkpoint, a .pte for the CPU, or a shape without weights: 1b, 3b, 1.1b")
      ->required();
  command.add_option("--device", options.device,
                     "sim:NAME or sim:PATH of a profile (cria devices)");
  command.add_option(
      "--quant", options.quant,
      "recipe of a checkpoint; encoding of a shape (default q4c), as q4c,token_embd=q8c");
  command.add_option("-c,--ctx", options.n_context, "tokens before one that is decoded")
      ->check(sizes);
  command.add_option("--act", options.activations, "activations: a8 (int8 blocks) or a16 (float)")
      ->check(CLI::IsMember({"a8", "a16"}));
  add_cache_types(command, options.cache_type_k, options.cache_type_v);
  command
      .add_option("--prefill-chunk", options.prefill_chunk,
                  "tokens of a prefill call (default 64, or the prompt)")
      ->check(CLI::Range(1, 4096));
  command.add_flag("--one-op-at-a-time", options.one_op_at_a_time,
                   "no weight is loaded ahead of the op that needs it");
  const auto counts = CLI::Range(1, 65536);
  command
      .add_option("--ops-per-submission", options.ops_per_submission,
                  "ops that the host hands over at a time (default: the profile's)")
      ->check(counts);
  command
      .add_option("--queue-depth", options.queue_depth,
                  "submissions in flight, 1: each is waited for (default: the profile's)")
      ->check(counts);
  command.add_option("-p,--n-prompt", options.n_prompt, "tokens of the prompt")->check(sizes);
  command.add_option("-n,--n-gen", options.n_generate, "tokens generated after it")->check(sizes);
}

}  // namespace cria::cli
