#include "model/resolve.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>
#include <optional>

#include "format/llama2c/llama2c_builder.h"
#include "model/checkpoint_for_test.h"

namespace cria {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr const char* kVariables[] = {"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME",
                                      "XDG_CACHE_HOME", "HOME"};
const std::string kCommit = "0123456789abcdef0123456789abcdef01234567";
const std::string kOtherCommit = "fedcba9876543210fedcba9876543210fedcba98";

class ResolveTest : public ::testing::Test {
 protected:
  ResolveTest() {
    for (const char* name : kVariables) {
      const char* value = std::getenv(name);
      saved_[name] = value ? std::optional<std::string>(value) : std::nullopt;
      ::unsetenv(name);
    }
    set("HF_HUB_CACHE", "");
    add_model("");
  }
  ~ResolveTest() override {
    for (const auto& [name, value] : saved_) {
      if (value) {
        ::setenv(name.c_str(), value->c_str(), 1);
      } else {
        ::unsetenv(name.c_str());
      }
    }
  }

  void set(const char* name, const std::string& below) {
    ::setenv(name, (folder_.path() / below).c_str(), 1);
  }
  // A cached model with two snapshots, in the cache `below` the test's folder.
  void add_model(const std::string& below) {
    const std::string model = (below.empty() ? "" : below + "/") + "models--org--name/";
    folder_.write(model + "refs/main", kCommit);
    folder_.write(model + "refs/pr/7", kOtherCommit + "\n");
    folder_.write(model + "snapshots/" + kCommit + "/config.json", "{}");
    folder_.write(model + "snapshots/" + kOtherCommit + "/config.json", "{}");
  }
  std::string snapshot(const std::string& commit, const std::string& below = "") {
    return folder_.path() / below / "models--org--name" / "snapshots" / commit;
  }
  static std::string resolved(const std::string& id) {
    auto path = resolve_model(id);
    return path.ok() ? *path : path.status().message();
  }

  TemporaryFolder folder_;
  std::map<std::string, std::optional<std::string>> saved_;
};

TEST_F(ResolveTest, TakesAnExistingPathAsItIs) {
  const std::string file = folder_.write("file.gguf", "x");
  EXPECT_EQ(resolved(file), file);
  EXPECT_EQ(resolved(snapshot(kCommit)), snapshot(kCommit));
}

TEST_F(ResolveTest, OpensTheOnlyGgufModelOfAFolder) {
  const std::string in_snapshot = "models--org--name/snapshots/" + kCommit + "/";
  folder_.write(in_snapshot + "README.md", "");
  folder_.write(in_snapshot + "model-q4-00002-of-00002.gguf", "");
  const std::string first = folder_.write(in_snapshot + "model-q4-00001-of-00002.gguf", "");
  EXPECT_EQ(resolved("org/name"), first);
  EXPECT_EQ(resolved(snapshot(kCommit)), first);
  folder_.write(in_snapshot + "model-q8.gguf", "");
  EXPECT_THAT(resolved("org/name"),
              AllOf(HasSubstr(kCommit), HasSubstr("has 2 GGUF models"),
                    HasSubstr("(model-q4-00001-of-00002.gguf, model-q8.gguf)")));
  for (int i = 0; i < 20; ++i) folder_.write(in_snapshot + std::to_string(i) + ".gguf", "");
  EXPECT_THAT(resolved("org/name"), AllOf(HasSubstr("has 22 GGUF"), HasSubstr(", ...); name")));
  folder_.write(in_snapshot + "model.safetensors.index.json", "");
  EXPECT_EQ(resolved("org/name"), snapshot(kCommit));
}

TEST_F(ResolveTest, FollowsReferencesAndCommits) {
  EXPECT_EQ(resolved("org/name"), snapshot(kCommit));
  EXPECT_EQ(resolved("org/name@main"), snapshot(kCommit));
  EXPECT_EQ(resolved("org/name@pr/7"), snapshot(kOtherCommit));
  EXPECT_EQ(resolved("org/name@" + kOtherCommit), snapshot(kOtherCommit));
}

TEST_F(ResolveTest, LooksWhereTheVariablesSay) {
  struct Case {
    const char* variable;
    const char* value;
    const char* cache;
  };
  // From the weakest to the strongest: each one hides those before it.
  for (const Case& c :
       {Case{"HOME", "home", "home/.cache/huggingface/hub"},
        Case{"XDG_CACHE_HOME", "xdg", "xdg/huggingface/hub"}, Case{"HF_HOME", "hf", "hf/hub"},
        Case{"HUGGINGFACE_HUB_CACHE", "legacy", "legacy"},
        Case{"HF_HUB_CACHE", "cache", "cache"}}) {
    if (std::string_view(c.variable) == "HOME") ::unsetenv("HF_HUB_CACHE");
    set(c.variable, c.value);
    EXPECT_THAT(resolved("org/name"), HasSubstr(folder_.path() / c.cache));
    add_model(c.cache);
    EXPECT_EQ(resolved("org/name"), snapshot(kCommit, c.cache)) << c.variable;
  }
  ::setenv("HF_HUB_CACHE", "", 1);  // empty is as good as unset
  EXPECT_EQ(resolved("org/name"), snapshot(kCommit, "legacy"));
  ::setenv("HUGGINGFACE_HUB_CACHE", "~/.cache/huggingface/hub", 1);
  EXPECT_EQ(resolved("org/name"), snapshot(kCommit, "home/.cache/huggingface/hub"));
}

TEST_F(ResolveTest, SaysWhatTheCacheHas) {
  EXPECT_EQ(resolve_model("org/other").status().code(), ErrorCode::kNotFound);
  EXPECT_THAT(resolved("org/other"),
              AllOf(HasSubstr("org/other"), HasSubstr("not in the Hugging Face cache"),
                    HasSubstr(folder_.path())));
  EXPECT_THAT(resolved("org/name@v2"), AllOf(HasSubstr("has no revision \"v2\""), HasSubstr("main"),
                                             HasSubstr("pr/7"), HasSubstr(kCommit)));
  const std::string absent(40, 'a');
  EXPECT_THAT(resolved("org/name@" + absent), AllOf(HasSubstr(absent), HasSubstr("is missing")));
  folder_.write("models--org--name/refs/bad", "../../../etc");
  EXPECT_THAT(resolved("org/name@bad"), HasSubstr("expected a commit"));
}

TEST_F(ResolveTest, RefusesWhatIsNeitherPathNorId) {
  for (const char* text :
       {"", "name", "/absent/name", "../absent", "./absent/x", "a/b/c", "org/..", "../name", "org/",
        "/name", "org/na me", "org/name@", "org/name@../main", "org/name@/main", "org/name@a//b",
        "org/name@a/..", "org/n..me", "-org/name", "org/.name"}) {
    EXPECT_EQ(resolve_model(text).status().code(), ErrorCode::kNotFound) << text;
    EXPECT_THAT(resolved(text), HasSubstr("not a model id")) << text;
  }
}

class OpenVocabularyTest : public ::testing::Test {
 protected:
  // The number of tokens, or -1 after noting the error.
  int n_tokens(const std::string& path) {
    auto vocabulary = open_vocabulary(path);
    if (vocabulary.ok()) return static_cast<int>((*vocabulary)->tokens.size());
    error_ = vocabulary.status().message();
    return -1;
  }

  static std::string llama2c_tokenizer(int n_tokens) {
    std::string bytes("\1\0\0\0", 4);
    for (int i = 0; i < n_tokens; ++i) bytes.append("\0\0\0\0\1\0\0\0x", 9);
    return bytes;
  }

  TemporaryFolder folder_;
  std::string error_;
};

TEST_F(OpenVocabularyTest, ReadsEveryKindByContent) {
  EXPECT_EQ(n_tokens(folder_.write("a", small_tokenizer_json())), 5);
  EXPECT_EQ(n_tokens(folder_.write("b", "YQ== 0\nYg== 1\n")), 258);
  EXPECT_EQ(n_tokens(folder_.write("c", llama2c_tokenizer(300))), 300);
  GgufBuilder gguf;
  gguf.text("tokenizer.ggml.model", "gpt2").text("tokenizer.ggml.pre", "llama-bpe");
  gguf.texts("tokenizer.ggml.tokens", {"a", "b", "ab"}).texts("tokenizer.ggml.merges", {"a b"});
  EXPECT_EQ(n_tokens(folder_.write("d", gguf.build())), 3);
}

TEST_F(OpenVocabularyTest, NeedsNoWeightsInAFolder) {
  const std::string file = folder_.write("hf/tokenizer.json", small_tokenizer_json());
  folder_.write("hf/generation_config.json", R"({"eos_token_id": [4, 1]})");
  EXPECT_EQ(n_tokens(folder_.path() / "hf"), 5);
  // Named alone, the file still has its companions.
  for (const std::string& path : {file, (folder_.path() / "hf").string()}) {
    auto vocabulary = open_vocabulary(path);
    ASSERT_TRUE(vocabulary.ok()) << vocabulary.status().message();
    EXPECT_EQ((*vocabulary)->eos_ids.size(), 2U);
  }
  folder_.write("meta/tokenizer.model", "YQ== 0\nYg== 1\n");
  EXPECT_EQ(n_tokens(folder_.path() / "meta"), 258);
}

TEST_F(OpenVocabularyTest, FindsTheTokenizerBesideALlama2cModel) {
  const std::string model = folder_.write("model.bin", llama2c_bytes({.vocab_size = 300}));
  EXPECT_EQ(n_tokens(model), -1);
  EXPECT_THAT(error_, HasSubstr("model.bin: brings no tokenizer"));
  folder_.write("tok300.bin", llama2c_tokenizer(300));
  EXPECT_EQ(n_tokens(model), 300);
}

TEST_F(OpenVocabularyTest, SaysWhatIsMissing) {
  EXPECT_EQ(n_tokens(folder_.path() / "absent"), -1);
  EXPECT_THAT(error_, HasSubstr("absent: no such file or folder"));
  EXPECT_EQ(open_vocabulary(folder_.path()).status().code(), ErrorCode::kNotFound);
  EXPECT_EQ(n_tokens(folder_.write("m.gguf", small_gguf().build())), -1);
  EXPECT_THAT(error_, HasSubstr("m.gguf: brings no tokenizer"));
  EXPECT_EQ(n_tokens(folder_.write("noise", "noise noise noise")), -1);
  EXPECT_THAT(error_, HasSubstr("no tokenizer that cria reads"));
  EXPECT_EQ(n_tokens(folder_.write("empty", "")), -1);
  folder_.write("sp/tokenizer.model", "\x0a\x0e\x0a\x05<unk>");
  EXPECT_EQ(n_tokens(folder_.path() / "sp"), -1);
  EXPECT_THAT(error_, HasSubstr("no tiktoken ranks"));
}

}  // namespace
}  // namespace cria
