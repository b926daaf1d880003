// `cria tokenize MODEL_OR_TOKENIZER_FILE`: text to ids.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "commands.h"
#include "cria/tokenizer.h"
#include "model_arguments.h"
#include "terminal.h"

namespace cria::cli {
namespace {

struct TokenizeArguments {
  std::string tokenizer;
  std::string file = "-";
  std::string prompt;
  bool has_prompt = false;
  bool ids_only = false;
  bool no_bos = false;
  bool no_parse_special = false;
  bool show_count = false;
  bool json = false;
};

// A token's text on one line: control characters and bytes outside ASCII as \xNN unless they are
// whole UTF-8.
std::string printable(const std::string& bytes) {
  const std::string dumped =
      nlohmann::json(bytes).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  return dumped.substr(1, dumped.size() - 2);
}

std::string render(const TokenizeArguments& arguments, const TextTokenizer& tokenizer,
                   const std::vector<std::int32_t>& ids) {
  if (arguments.json) {
    nlohmann::ordered_json pieces = nlohmann::ordered_json::array();
    for (std::int32_t id : ids) pieces.push_back(tokenizer.decode({&id, 1}, /*show_special=*/true));
    const nlohmann::ordered_json json = {
        {"n_tokens", ids.size()}, {"ids", ids}, {"pieces", pieces}};
    return json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
  }
  std::string text;
  if (arguments.ids_only) {
    text = fmt::format("[{}]\n", fmt::join(ids, ", "));
  } else {
    for (std::int32_t id : ids) {
      text += fmt::format("{:6} -> '{}'\n", id,
                          printable(tokenizer.decode({&id, 1}, /*show_special=*/true)));
    }
  }
  if (arguments.show_count) text += fmt::format("Total number of tokens: {}\n", ids.size());
  return text;
}

Status tokenize(const TokenizeArguments& arguments) {
  Result<TextTokenizer> tokenizer = TextTokenizer::open(arguments.tokenizer);
  if (!tokenizer.ok()) return tokenizer.status();
  Result<std::string> text =
      arguments.has_prompt ? Result<std::string>(arguments.prompt) : read_text(arguments.file);
  if (!text.ok()) return text.status();
  Result<std::vector<std::int32_t>> ids =
      tokenizer->encode(*text, !arguments.no_bos, !arguments.no_parse_special);
  if (!ids.ok()) return ids.status();
  return write_stdout(render(arguments, *tokenizer, *ids));
}

}  // namespace

void add_tokenize(CLI::App& app, Command& selected) {
  auto arguments = std::make_shared<TokenizeArguments>();
  CLI::App* command = app.add_subcommand("tokenize", "turn text into token ids");
  command
      ->add_option("MODEL_OR_TOKENIZER_FILE", arguments->tokenizer,
                   "a model, a folder, an id or a tokenizer file")
      ->required();
  CLI::Option* file =
      command->add_option("-f,--file", arguments->file, "file with the text (-: standard input)");
  CLI::Option* prompt = command->add_option("-p,--prompt", arguments->prompt, "the text itself");
  prompt->excludes(file);
  command->add_flag("--ids", arguments->ids_only, "only the ids: [1, 2, 3]");
  command->add_flag("--no-bos", arguments->no_bos, "do not begin with the begin-of-text token");
  command->add_flag("--no-parse-special", arguments->no_parse_special,
                    "special tokens in the text are plain text");
  command->add_flag("--show-count", arguments->show_count, "add the number of tokens");
  command->add_flag("--json", arguments->json, "ids and pieces as JSON");
  command->callback([arguments, prompt, &selected] {
    arguments->has_prompt = prompt->count() > 0;
    selected = [arguments] {
      const Status status = tokenize(*arguments);
      return status.ok() ? 0 : fail(status);
    };
  });
}

}  // namespace cria::cli
