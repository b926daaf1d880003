// `cria profile` of a program that an NPU and the processor beside it share.
#pragma once

#include <string>

#include "cria/timeline.h"
#include "profile_report.h"

namespace cria::cli {

// The steps of a profile on one clock: what the processor's ops took as measured (estimated, where
// the profile has no ops), the NPU's work simulated.
Result<Timeline> timeline_of(const Profile& profile, const std::string& power_profile);

// A table of both phases for people; for programs.
std::string shared_profile_text(const Profile& profile, const Timeline& timeline);
std::string shared_profile_json(const Profile& profile, const Timeline& timeline);

}  // namespace cria::cli
