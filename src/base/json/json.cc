#include "base/json/json.h"

#include <string>
#include <vector>

#include "base/quote.h"

namespace cria {
namespace {

using Json = nlohmann::json;

// Builds the value while it is being parsed, so that depth and repeated keys stop the parser where
// they happen; nlohmann's own builder keeps the last of two equal keys silently.
class StrictBuilder : public nlohmann::json_sax<Json> {
 public:
  bool null() override { return add(nullptr); }
  bool boolean(bool value) override { return add(value); }
  bool number_integer(number_integer_t value) override { return add(value); }
  bool number_unsigned(number_unsigned_t value) override { return add(value); }
  bool number_float(number_float_t value, const string_t&) override { return add(value); }
  bool string(string_t& value) override { return add(std::move(value)); }
  bool binary(binary_t&) override { return fail("binary data"); }

  bool start_object(std::size_t) override { return open(Json::object()); }
  bool end_object() override { return close(); }
  bool start_array(std::size_t) override { return open(Json::array()); }
  bool end_array() override { return close(); }

  bool key(string_t& name) override {
    if (open_.back()->contains(name)) return fail("key " + quote(name) + " appears twice");
    key_ = std::move(name);
    return true;
  }

  bool parse_error(std::size_t position, const std::string&,
                   const nlohmann::detail::exception&) override {
    return fail(fmt::format("not valid JSON at byte {}", position));
  }

  Json take_root() { return std::move(root_); }
  const std::string& error() const { return error_; }

 private:
  bool fail(std::string why) {
    error_ = std::move(why);
    return false;
  }

  Json* place(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *open_.back();
    if (parent.is_object()) return &(parent[key_] = std::move(value));
    parent.push_back(std::move(value));
    return &parent.back();
  }

  template <typename T>
  bool add(T value) {
    place(Json(std::move(value)));
    return true;
  }

  bool open(Json value) {
    if (open_.size() == kMaxJsonNesting) {
      return fail(fmt::format("nested deeper than {} levels", kMaxJsonNesting));
    }
    open_.push_back(place(std::move(value)));
    return true;
  }

  bool close() {
    open_.pop_back();
    return true;
  }

  Json root_;
  std::vector<Json*> open_;  // from the root to the innermost container, all still being filled
  std::string key_;
  std::string error_;
};

Status wrong_type(std::string_view what, const char* member, const Json& found,
                  const char* expected) {
  return bad_input("{}: {} is a {}, expected {}", what, quote(member), found.type_name(), expected);
}

}  // namespace

Result<Json> parse_strict_json(std::string_view text, std::string_view what) {
  StrictBuilder builder;
  // The library's allocations may throw; nothing else does, since every error goes to the builder.
  try {
    if (Json::sax_parse(text, &builder)) return builder.take_root();
  } catch (const std::exception& e) {
    return bad_input("{}: not valid JSON: {}", what, quote(e.what()));
  }
  return bad_input("{}: {}", what, builder.error());
}

const Json* json_member(const Json& object, const char* member) {
  if (!object.is_object()) return nullptr;
  const auto found = object.find(member);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

Result<std::int64_t> json_integer(const Json& object, const char* member, std::int64_t fallback,
                                  std::string_view what) {
  const Json* found = json_member(object, member);
  if (found == nullptr) return fallback;
  const bool fits = found->is_number_unsigned()
                        ? found->get<std::uint64_t>() <= static_cast<std::uint64_t>(INT64_MAX)
                        : found->is_number_integer();
  if (!fits) return wrong_type(what, member, *found, "an integer of 64 bits");
  return found->get<std::int64_t>();
}

Result<double> json_number(const Json& object, const char* member, double fallback,
                           std::string_view what) {
  const Json* found = json_member(object, member);
  if (found == nullptr) return fallback;
  if (!found->is_number()) return wrong_type(what, member, *found, "a number");
  return found->get<double>();
}

Result<bool> json_bool(const Json& object, const char* member, bool fallback,
                       std::string_view what) {
  const Json* found = json_member(object, member);
  if (found == nullptr) return fallback;
  if (!found->is_boolean()) return wrong_type(what, member, *found, "true or false");
  return found->get<bool>();
}

Result<std::string> json_text(const Json& object, const char* member, std::string_view fallback,
                              std::string_view what) {
  const Json* found = json_member(object, member);
  if (found == nullptr) return std::string(fallback);
  if (!found->is_string()) return wrong_type(what, member, *found, "a string");
  return found->get<std::string>();
}

}  // namespace cria
