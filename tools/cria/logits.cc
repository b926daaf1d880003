// `cria logits MODEL --ids 1,2,3`: the raw result of one forward pass.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "commands.h"
#include "model_arguments.h"
#include "npy.h"
#include "terminal.h"

namespace cria::cli {
namespace {

struct LogitsArguments {
  ModelArguments model;
  std::vector<std::int32_t> ids;
  std::string npy_path;
  bool json = false;
};

Result<std::vector<float>> last_logits(const LogitsArguments& arguments) {
  Result<Engine> engine = open_engine(arguments.model);
  if (!engine.ok()) return engine.status();
  Result<std::uint64_t> size_bytes =
      engine->kv_cache_bytes(static_cast<std::int64_t>(arguments.ids.size()));
  if (!size_bytes.ok()) return size_bytes.status();
  Result<KvCacheBuffer> cache = KvCacheBuffer::allocate(*size_bytes);
  if (!cache.ok()) return cache.status();
  std::vector<float> logits(engine->info().n_vocab);
  Status status = engine->forward(arguments.ids, *cache, logits);
  if (!status.ok()) return status;
  return logits;
}

Status print_logits(const LogitsArguments& arguments) {
  Result<std::vector<float>> logits = last_logits(arguments);
  if (!logits.ok()) return logits.status();
  if (!arguments.npy_path.empty()) return write_npy(arguments.npy_path, *logits);
  if (arguments.json) {
    const nlohmann::ordered_json json = {{"ids", arguments.ids}, {"logits", *logits}};
    return write_stdout(json.dump() + "\n");
  }
  std::string text;
  for (float value : *logits) text += fmt::format("{:.9g}\n", value);
  return write_stdout(text);
}

}  // namespace

void add_logits(CLI::App& app, Command& selected) {
  auto arguments = std::make_shared<LogitsArguments>();
  CLI::App* command = app.add_subcommand("logits", "the logits after a list of token ids");
  add_model_arguments(*command, arguments->model);
  add_device(*command, arguments->model);
  // CLI11 takes nothing for the number 0.
  const CLI::Validator not_empty(
      [](const std::string& id) { return id.empty() ? "a token id is missing" : ""; }, "");
  command->add_option("--ids", arguments->ids, "token ids, comma separated; nothing is added")
      ->required()
      ->delimiter(',')
      ->check(not_empty);
  command->add_option("--npy", arguments->npy_path,
                      "write float32 logits to this .npy file instead of stdout");
  command->add_flag("--json", arguments->json, "as JSON");
  command->callback([arguments, &selected] {
    selected = [arguments] {
      const Status status = print_logits(*arguments);
      return status.ok() ? 0 : fail(status);
    };
  });
}

}  // namespace cria::cli
