// What `cria profile` collected, and how it is written.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "cria/engine.h"
#include "cria/profile.h"

namespace cria::cli {

// One op that ran. Texts live as long as the profile.
struct OpSample {
  const std::string* method;
  const std::string* delegate;
  const std::string* op;
  const std::string* name;
  std::int32_t layer;
  std::uint64_t start_ns, end_ns;
  std::uint64_t weight_bytes, kv_bytes, macs;
  bool undisturbed;  // nobody else used the cores before it and behind it, as far as watched
};

// One forward call: the ops [first_op, end_op) of the profile.
struct ForwardSample {
  std::int64_t n_tokens = 0;
  std::uint64_t start_ns = 0, end_ns = 0;
  std::size_t first_op = 0, end_op = 0;
};

// Forward calls of one kind.
struct ProfilePhase {
  std::string name;  // "prefill", "decode"
  std::int64_t n_depth = 0;
  std::vector<ForwardSample> forwards;
};

struct Profile {
  std::string model_path;
  ModelInfo model;
  int n_threads = 0;
  // Of a core that was watched for whether others disturb (OpSample::undisturbed), the most that it
  // did; 0: none was watched.
  double additions_per_second = 0;
  std::vector<ProfilePhase> phases;
  std::vector<OpSample> ops;

  // Appends a sample; quick, it stands between two ops.
  void add(const OpRecord& record, bool undisturbed);

 private:
  const std::string* keep(std::string_view text);

  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const {
      return std::hash<std::string_view>()(text);
    }
  };
  std::unordered_set<std::string, Hash, std::equal_to<>> texts_;
};

// Ops added up.
struct ProfileSum {
  std::uint64_t n_calls = 0, ns = 0, weight_bytes = 0, kv_bytes = 0, macs = 0;
  std::uint64_t n_undisturbed = 0, undisturbed_ns = 0;  // of the calls that nobody disturbed

  void add(const OpSample& sample);
  double gb_per_second() const;  // over the bytes that had to be touched
  double gmac_per_second() const;
  // What all calls would take if each took what undisturbed ones do on average; 0: there was none.
  double all_undisturbed_ns() const;
};

// Tables for people; with `layers` also one by layer.
std::string profile_text(const Profile& profile, bool layers);
// docs/profile.md has the fields.
std::string profile_json(const Profile& profile);
// Chrome's trace format, as Perfetto opens it.
std::string profile_trace(const Profile& profile);

}  // namespace cria::cli
