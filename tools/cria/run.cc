// `cria run MODEL -p TEXT`: one prompt, one answer.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "commands.h"
#include "generation_arguments.h"
#include "model_arguments.h"
#include "terminal.h"

namespace cria::cli {
namespace {

struct RunArguments {
  ModelArguments model;
  GenerationArguments generation;
  std::string prompt;
  std::string prompt_file;
  std::string system;
  std::string date;
  bool chat = false;
  bool json = false;
  bool display_prompt = false;
};

// The prompt as ids: the text as it is, or in the chat template.
Result<std::vector<std::int32_t>> prompt_ids(const RunArguments& arguments, const std::string& text,
                                             const TextTokenizer& tokenizer) {
  if (!arguments.chat && arguments.system.empty()) return tokenizer.encode(text);
  std::vector<ChatTurn> messages;
  if (!arguments.system.empty()) messages.push_back({"system", arguments.system});
  messages.push_back({"user", text});
  Result<std::string> rendered = tokenizer.render_chat(messages, chat_date(arguments.date));
  if (!rendered.ok()) return rendered.status();
  return tokenizer.encode(*rendered);
}

nlohmann::ordered_json stats_json(const GenerateStats& stats) {
  const auto rate = [](std::int64_t n, double seconds) {
    return seconds > 0 ? static_cast<double>(n) / seconds : 0.0;
  };
  return {{"n_prompt", stats.n_prompt},
          {"n_generated", stats.n_generated},
          {"prompt_seconds", stats.prompt_seconds},
          {"decode_seconds", stats.decode_seconds},
          {"prompt_tokens_per_second", rate(stats.n_prompt, stats.prompt_seconds)},
          {"decode_tokens_per_second", rate(stats.n_generated - 1, stats.decode_seconds)},
          {"first_token_seconds", stats.first_token_seconds},
          {"kv_bytes", stats.kv_bytes},
          {"rss_anon_bytes", stats.rss_anon_bytes},
          {"rss_file_bytes", stats.rss_file_bytes}};
}

void print_stats(const GenerateResult& result) {
  const GenerateStats& s = result.stats;
  const nlohmann::ordered_json json = stats_json(s);
  fmt::print(stderr,
             "prompt {} tokens, {:.1f} tok/s | generated {} tokens, {:.1f} tok/s | first token {} "
             "| stopped: {} | "
             "memory {} own + {} mapped, of it KV {}\n",
             s.n_prompt, json["prompt_tokens_per_second"].get<double>(), s.n_generated,
             json["decode_tokens_per_second"].get<double>(), format_seconds(s.first_token_seconds),
             stop_reason_name(result.reason), format_bytes(s.rss_anon_bytes),
             format_bytes(s.rss_file_bytes), format_bytes(s.kv_bytes));
}

Status print_json(const RunArguments& arguments, const std::string& prompt, const Engine& engine,
                  const GenerateResult& result) {
  const ModelInfo& info = engine.info();
  nlohmann::ordered_json json = {{"prompt", prompt},
                                 {"text", result.text},
                                 {"ids", result.ids},
                                 {"stop_reason", stop_reason_name(result.reason)},
                                 {"stats", stats_json(result.stats)},
                                 {"model",
                                  {{"path", arguments.model.model},
                                   {"description", info.description},
                                   {"device", info.device},
                                   {"activations", info.activations},
                                   {"file_bytes", info.file_bytes},
                                   {"load_seconds", info.load_seconds}}}};
  return write_stdout(json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) +
                      "\n");
}

Status generate_and_print(const RunArguments& arguments, const std::string& prompt) {
  Result<Engine> engine = open_engine(arguments.model);
  if (!engine.ok()) return engine.status();
  Result<TextTokenizer> tokenizer = engine->tokenizer();
  if (!tokenizer.ok()) return tokenizer.status();
  Result<std::vector<std::int32_t>> ids = prompt_ids(arguments, prompt, *tokenizer);
  if (!ids.ok()) return ids.status();
  Result<GenerationSession> session = GenerationSession::create(
      *engine, choose_context(arguments.generation.n_ctx, engine->info()));
  if (!session.ok()) return session.status();

  Status write_status;
  const auto on_text = [&](std::string_view piece) {
    if (!arguments.json) write_status = write_stdout(piece);
    return write_status.ok() && !interrupted();
  };
  if (arguments.display_prompt) on_text(prompt);
  Result<GenerateResult> result = session->generate(*ids, arguments.generation.options, on_text);
  if (!result.ok()) return result.status();
  if (!write_status.ok()) return write_status;
  if (arguments.json) return print_json(arguments, prompt, *engine, *result);
  if (stdout_is_terminal()) write_status = write_stdout("\n");
  if (arguments.model.verbose || stderr_is_terminal()) print_stats(*result);
  return write_status;
}

int run(const RunArguments& arguments) {
  catch_interrupt();
  std::string prompt = arguments.prompt;
  if (!arguments.prompt_file.empty()) {
    Result<std::string> text = read_text(arguments.prompt_file);
    if (!text.ok()) return fail(text.status());
    prompt = *text;
  }
  const Status status = generate_and_print(arguments, prompt);
  return status.ok() ? 0 : fail(status);
}

}  // namespace

void add_run(CLI::App& app, Command& selected) {
  auto arguments = std::make_shared<RunArguments>();
  CLI::App* command = app.add_subcommand("run", "generate text from a prompt");
  add_model_arguments(*command, arguments->model);
  add_device(*command, arguments->model);
  add_generation_arguments(*command, arguments->generation);
  CLI::Option_group* prompt = command->add_option_group("prompt");
  prompt->add_option("-p,--prompt", arguments->prompt,
                     "the prompt; empty starts from the begin token");
  prompt->add_option("-f,--file", arguments->prompt_file,
                     "file with the prompt (-: standard input)");
  prompt->require_option(1);
  command->add_flag("--chat", arguments->chat, "put the prompt into the model's chat template");
  command->add_option("--system", arguments->system, "system prompt (implies --chat)");
  command->add_option("--date", arguments->date,
                      "date in the chat template, e.g. \"26 Jul 2024\" (default: today)");
  command->add_flag("--display-prompt", arguments->display_prompt,
                    "print the prompt before the generated text");
  command->add_flag("--json", arguments->json, "one JSON object in place of the text");
  command->callback([arguments, &selected] { selected = [arguments] { return run(*arguments); }; });
}

}  // namespace cria::cli
