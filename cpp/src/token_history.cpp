// SPDX-License-Identifier: Apache-2.0
#include "edgepose/token_history.hpp"

#include "edgepose/error.hpp"
#include "edgepose/positions.hpp"

#include <algorithm>
#include <cmath>

namespace edgepose {

void TokenHistory::begin(const Penalty& penalty, std::int64_t questions) {
  EDGEPOSE_CHECK(
      penalty.factor > 0 && std::isfinite(penalty.factor),
      InvalidInput,
      "[repetition penalty] a finite number above 0, 1 for none; got ",
      penalty.factor
  );
  EDGEPOSE_CHECK(
      penalty.image_token >= -1 && penalty.image_token < vocabulary_,
      InvalidInput,
      "[repetition penalty] an image token below ",
      vocabulary_,
      ", or -1 for none; got ",
      penalty.image_token
  );
  penalty_ = penalty;
  if (!active()) return;
  noted_.resize(static_cast<std::size_t>(vocabulary_));
  prefix_.clear();
  const auto count = static_cast<std::size_t>(questions);
  if (questions_.size() < count) questions_.resize(count);
  for (auto& tokens : questions_) tokens.clear();
}

// Whether the token is new to this look.
bool TokenHistory::note(std::int32_t token) noexcept {
  auto& noted = noted_[static_cast<std::size_t>(token)];
  if (noted == look_) return false;
  noted = look_;
  return true;
}

void TokenHistory::set_prefix(std::span<const std::int32_t> tokens) {
  note_all(0, 0);
  for (const std::int32_t token : tokens) {
    const std::int32_t id = token == kImageToken ? penalty_.image_token : token;
    if (id >= 0 && note(id)) prefix_.push_back(id);
  }
}

void TokenHistory::set(std::int64_t question, std::int64_t slot, std::int32_t token) {
  auto& tokens = questions_[static_cast<std::size_t>(question)];
  tokens.resize(static_cast<std::size_t>(slot));
  tokens.push_back(token);
}

void TokenHistory::truncate(std::int64_t question, std::int64_t length) {
  if (active())
    questions_[static_cast<std::size_t>(question)].resize(static_cast<std::size_t>(length));
}

void TokenHistory::note_all(std::int64_t question, std::int64_t length) {
  if (++look_ == 0) {  // the count has come round
    std::fill(noted_.begin(), noted_.end(), 0U);
    look_ = 1;
  }
  seen_.clear();
  for (const std::int32_t token : prefix_) {
    if (note(token)) seen_.push_back(token);
  }
  const auto& tokens = questions_[static_cast<std::size_t>(question)];
  for (const std::int32_t token : std::span(tokens).first(static_cast<std::size_t>(length))) {
    if (note(token)) seen_.push_back(token);
  }
}

float TokenHistory::penalised(float logit) const noexcept {
  return logit < 0 ? logit * penalty_.factor : logit / penalty_.factor;
}

void TokenHistory::penalise(std::int64_t question, std::int64_t length, std::span<float> logits) {
  note_all(question, length);
  for (const std::int32_t token : seen_) {
    float& logit = logits[static_cast<std::size_t>(token)];
    logit = penalised(logit);
  }
}

void TokenHistory::penalise(
    std::int64_t question,
    std::int64_t length,
    std::span<float> logits,
    std::span<const std::int32_t> tokens,
    std::span<const std::int32_t> columns
) {
  note_all(question, length);
  for (std::size_t k = 0; k < tokens.size(); ++k) {
    if (noted_[static_cast<std::size_t>(tokens[k])] != look_) continue;
    float& logit = logits[static_cast<std::size_t>(columns[k])];
    logit = penalised(logit);
  }
}

}  // namespace edgepose
