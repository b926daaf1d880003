// The sampling flags that `run` and `chat` share, under llama.cpp's names.
#pragma once

#include <fmt/chrono.h>

#include <CLI/CLI.hpp>
#include <cstdint>
#include <ctime>
#include <string>

#include "cria/session.h"

namespace cria::cli {

struct GenerationArguments {
  GenerateOptions options;
  std::int64_t n_ctx = 0;
};

inline void add_generation_arguments(CLI::App& command, GenerationArguments& arguments) {
  GenerateOptions& options = arguments.options;
  command.add_option("-n,--predict", options.max_tokens, "tokens to generate (-1: until the end)")
      ->check(CLI::Range(std::int64_t{-1}, std::int64_t{1} << 40));
  command
      .add_option("-c,--ctx-size", arguments.n_ctx,
                  "positions of the context (0: the model's, up to 4096)")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40));
  command.add_option("--temp", options.temperature, "temperature; 0 is greedy");
  command.add_option("--top-k", options.top_k, "keep the k most likely tokens (0: off)");
  command.add_option("--top-p", options.top_p,
                     "keep the most likely tokens of this total probability (1: off)");
  command.add_option("--min-p", options.min_p,
                     "keep tokens at least this likely, relative to the best (0: off)");
  command.add_option("--repeat-penalty", options.repeat_penalty,
                     "penalty on repeated tokens (1: off)");
  command.add_option("--repeat-last-n", options.repeat_last_n,
                     "tokens that the penalty looks back on");
  command.add_option("-s,--seed", options.seed, "seed of the sampler");
  command.add_option("--stop", options.stop, "text that ends the generation (repeatable)")
      ->expected(1)
      ->take_all();
  command.add_flag("--ignore-eos", options.ignore_eos, "go on after an end token");
}

// The date for the chat template: `wanted`, or today's as the template writes it.
inline std::string chat_date(const std::string& wanted) {
  return wanted.empty() ? fmt::format("{:%d %b %Y}", fmt::localtime(std::time(nullptr))) : wanted;
}

}  // namespace cria::cli
