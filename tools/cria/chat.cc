// `cria chat MODEL`: a conversation in the terminal.
#include <fmt/format.h>
#include <histedit.h>

#include <algorithm>
#include <iostream>
#include <optional>

#include "commands.h"
#include "generation_arguments.h"
#include "model_arguments.h"
#include "terminal.h"

namespace cria::cli {
namespace {

struct ChatArguments {
  ModelArguments model;
  GenerationArguments generation;
  std::string system;
  std::string date;
};

const char* editor_prompt(EditLine*) { return "> "; }

// Lines from the person: edited with history on a terminal, plain otherwise.
class LineReader {
 public:
  LineReader() {
    if (!stdout_is_terminal()) return;
    editor_ = el_init("cria", stdin, stdout, stderr);
    history_ = history_init();
    HistEvent event;
    history(history_, &event, H_SETSIZE, 1000);
    el_set(editor_, EL_PROMPT, editor_prompt);
    el_set(editor_, EL_EDITOR, "emacs");
    el_set(editor_, EL_HIST, history, history_);
  }
  ~LineReader() {
    if (history_ != nullptr) history_end(history_);
    if (editor_ != nullptr) el_end(editor_);
  }
  LineReader(const LineReader&) = delete;
  LineReader& operator=(const LineReader&) = delete;

  // The next line without its end; nothing at the end of the input.
  std::optional<std::string> next() {
    std::string line;
    if (editor_ == nullptr) {
      if (!std::getline(std::cin, line)) return std::nullopt;
      return line;
    }
    int length = 0;
    const char* text = el_gets(editor_, &length);
    if (text == nullptr || length <= 0) return std::nullopt;
    line.assign(text, length);
    HistEvent event;
    history(history_, &event, H_ENTER, line.c_str());
    while (!line.empty() && (line.back() == '\n' || line.back() == '\r')) line.pop_back();
    return line;
  }

 private:
  EditLine* editor_ = nullptr;
  History* history_ = nullptr;
};

// The conversation and the tokens that the cache holds of it. Each turn renders the whole
// conversation anew; only what differs from the cache is run.
class Conversation {
 public:
  Conversation(TextTokenizer tokenizer, GenerationSession session, const ChatArguments& arguments)
      : tokenizer_(std::move(tokenizer)), session_(std::move(session)), arguments_(arguments) {
    clear();
  }

  void clear() {
    messages_.clear();
    if (!arguments_.system.empty()) messages_.push_back({"system", arguments_.system});
    cached_ids_.clear();
    session_.reset();
  }

  // Answers one message, streaming to stdout. On an error the message is taken back.
  Status answer(const std::string& text) {
    messages_.push_back({"user", text});
    Result<GenerateResult> result = generate();
    if (!result.ok()) {
      messages_.pop_back();
      return result.status();
    }
    messages_.push_back({"assistant", result->text});
    stats_ = result->stats;
    if (result->reason == StopReason::kContextFull) {
      fmt::print(stderr, "\n(the context is full: /clear starts a new conversation)");
    }
    return write_stdout("\n");
  }

  const GenerateStats& stats() const { return stats_; }

 private:
  Result<GenerateResult> generate() {
    Result<std::string> rendered = tokenizer_.render_chat(messages_, chat_date(arguments_.date));
    if (!rendered.ok()) return rendered.status();
    Result<std::vector<std::int32_t>> ids = tokenizer_.encode(*rendered);
    if (!ids.ok()) return ids.status();
    const auto [cached_end, ids_end] =
        std::mismatch(cached_ids_.begin(), cached_ids_.end(), ids->begin(), ids->end());
    // At least one token has to run to give logits.
    const auto n_kept = std::min<std::size_t>(ids_end - ids->begin(), ids->size() - 1);
    Status status = session_.rewind(static_cast<std::int64_t>(n_kept));
    if (!status.ok()) return status;
    cached_ids_.resize(n_kept);

    Status write_status;
    clear_interrupt();
    const std::span<const std::int32_t> news(ids->begin() + n_kept, ids->end());
    Result<GenerateResult> result =
        session_.generate(news, arguments_.generation.options, [&](std::string_view piece) {
          write_status = write_stdout(piece);
          return write_status.ok() && !interrupted();
        });
    if (!result.ok()) {
      cached_ids_.clear();
      session_.reset();
      return result;
    }
    if (!write_status.ok()) return write_status;
    cached_ids_ = std::move(*ids);
    cached_ids_.insert(cached_ids_.end(), result->ids.begin(), result->ids.end());
    cached_ids_.resize(std::min<std::size_t>(cached_ids_.size(), session_.position()));
    return result;
  }

  TextTokenizer tokenizer_;
  GenerationSession session_;
  const ChatArguments& arguments_;
  std::vector<ChatTurn> messages_;
  std::vector<std::int32_t> cached_ids_;
  GenerateStats stats_;
};

void print_help() {
  fmt::print(stderr,
             "/clear  start a new conversation\n/stats  speed of the last answer\n/help   this "
             "list\n/bye    leave "
             "(also Ctrl-D); Ctrl-C stops an answer\n");
}

void print_stats(const GenerateStats& stats) {
  fmt::print(stderr, "prompt {} tokens in {}, generated {} tokens in {}, first token after {}\n",
             stats.n_prompt, format_seconds(stats.prompt_seconds), stats.n_generated,
             format_seconds(stats.decode_seconds), format_seconds(stats.first_token_seconds));
}

Status converse(const ChatArguments& arguments) {
  Result<Engine> engine = open_engine(arguments.model);
  if (!engine.ok()) return engine.status();
  Result<TextTokenizer> tokenizer = engine->tokenizer();
  if (!tokenizer.ok()) return tokenizer.status();
  // Refuse a model without a template before the person has typed anything.
  const ChatTurn probe[] = {{"user", "?"}};
  Result<std::string> rendered = tokenizer->render_chat(probe, chat_date(arguments.date));
  if (!rendered.ok()) return rendered.status();
  Result<GenerationSession> session = GenerationSession::create(
      *engine, choose_context(arguments.generation.n_ctx, engine->info()));
  if (!session.ok()) return session.status();

  Conversation conversation(*tokenizer, std::move(*session), arguments);
  LineReader reader;
  if (stderr_is_terminal()) fmt::print(stderr, "Type a message; /help lists the commands.\n");
  while (std::optional<std::string> line = reader.next()) {
    if (line->empty()) continue;
    if (*line == "/bye" || *line == "/exit") break;
    if (*line == "/clear") {
      conversation.clear();
    } else if (*line == "/stats") {
      print_stats(conversation.stats());
    } else if (line->front() == '/') {
      print_help();
    } else {
      const Status status = conversation.answer(*line);
      if (!status.ok()) fail(status);
    }
  }
  return {};
}

}  // namespace

void add_chat(CLI::App& app, Command& selected) {
  auto arguments = std::make_shared<ChatArguments>();
  CLI::App* command = app.add_subcommand("chat", "talk with a model");
  add_model_arguments(*command, arguments->model);
  add_device(*command, arguments->model);
  add_generation_arguments(*command, arguments->generation);
  command->add_option("--system", arguments->system, "system prompt");
  command->add_option("--date", arguments->date,
                      "date in the chat template, e.g. \"26 Jul 2024\" (default: today)");
  command->callback([arguments, &selected] {
    selected = [arguments] {
      catch_interrupt();
      const Status status = converse(*arguments);
      return status.ok() ? 0 : fail(status);
    };
  });
}

}  // namespace cria::cli
