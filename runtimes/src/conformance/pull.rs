//! Checks: images, pulled from a registry with a password and on the engine.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use tokio::time::Instant;

use super::bench::{Bench, fails_with};
use super::outcome::{ensure, ensure_eq};
use super::{Act, Check, Failure, Outcome, Program, checks};
use crate::{EngineHost, ErrorKind, ImageId, ImageReference, Limits, PullProgress, RegistryCredentials};

pub(super) const CHECKS: &[Check] = checks![
    pull_with_the_right_password_gets_the_image,
    pull_with_a_wrong_password_is_unauthorized_and_hides_it,
    pull_without_a_password_is_unauthorized,
    pull_of_an_unknown_tag_is_not_found,
    pull_of_an_unknown_repository_is_not_found,
    pull_of_a_present_image_is_ok,
    pull_by_digest_gets_the_image,
    pull_progress_only_grows,
    pull_after_the_tag_moved_changes_the_id,
    a_failed_pull_keeps_the_present_image,
    pull_from_a_silent_registry_times_out,
    pull_from_a_throttling_registry_is_throttled,
    an_absent_image_is_none,
    a_local_image_has_an_architecture,
    remove_image_removes_it_with_its_tags,
    remove_image_of_an_image_in_use_conflicts,
    remove_image_of_an_absent_image_is_ok,
    a_pulled_image_runs,
];

/// Publishes an image that no other check uses.
async fn publish(bench: &Bench<'_>, marker: &str) -> Outcome<ImageReference> {
    bench.subject.publish_image(&bench.name("img"), "1", &bench.name(marker)).await
}

async fn pull(bench: &Bench<'_>, image: &ImageReference) -> Outcome<ImageId> {
    Ok(bench.runtime.pull(image, Some(&bench.subject.credentials()), &|_| ()).await?)
}

async fn pull_with_the_right_password_gets_the_image(bench: &Bench<'_>) -> Outcome {
    let image = publish(bench, "one").await?;
    ensure_eq!(bench.runtime.image(&image).await?, None, "image before the pull");
    let id = pull(bench, &image).await?;
    ensure!(id.0.len() == 71 && id.0.starts_with("sha256:"), "the id is {id}");
    ensure_eq!(bench.runtime.image(&image).await?, Some(id), "image after the pull");
    Ok(())
}

async fn pull_with_a_wrong_password_is_unauthorized_and_hides_it(bench: &Bench<'_>) -> Outcome {
    let image = publish(bench, "one").await?;
    let wrong = RegistryCredentials {
        username: bench.subject.credentials().username,
        password: SecretString::from("surely-not-the-password"),
    };
    let Err(error) = bench.runtime.pull(&image, Some(&wrong), &|_| ()).await else {
        return Err(Failure::new("the pull succeeded"));
    };
    let (kind, text) = (error.kind(), format!("{error:?}"));
    let text = format!("{text} {}", Failure::from(error));
    ensure!(kind == ErrorKind::Unauthorized, "wanted Unauthorized, found {kind:?}: {text}");
    ensure!(!text.contains("surely-not-the-password"), "the error shows the password");
    Ok(())
}

async fn pull_without_a_password_is_unauthorized(bench: &Bench<'_>) -> Outcome {
    let image = publish(bench, "one").await?;
    fails_with(bench.runtime.pull(&image, None, &|_| ()).await, ErrorKind::Unauthorized, "pull")
}

async fn pull_of_an_unknown_tag_is_not_found(bench: &Bench<'_>) -> Outcome {
    let image = publish(bench, "one").await?;
    let unknown: ImageReference = parsed(&format!("{}:no-such-tag", image.name()))?;
    let credentials = bench.subject.credentials();
    fails_with(bench.runtime.pull(&unknown, Some(&credentials), &|_| ()).await, ErrorKind::NotFound, "pull")
}

async fn pull_of_an_unknown_repository_is_not_found(bench: &Bench<'_>) -> Outcome {
    let image = publish(bench, "one").await?;
    let unknown: ImageReference = parsed(&format!("{}/no/such/repository:1", image.registry()))?;
    let credentials = bench.subject.credentials();
    fails_with(bench.runtime.pull(&unknown, Some(&credentials), &|_| ()).await, ErrorKind::NotFound, "pull")
}

async fn pull_of_a_present_image_is_ok(bench: &Bench<'_>) -> Outcome {
    let image = publish(bench, "one").await?;
    let first = pull(bench, &image).await?;
    ensure_eq!(pull(bench, &image).await?, first, "id of the second pull");
    Ok(())
}

async fn pull_by_digest_gets_the_image(bench: &Bench<'_>) -> Outcome {
    let image = publish(bench, "one").await?;
    let digest = bench.subject.digest_of(&image).await?;
    let by_digest: ImageReference = parsed(&format!("{}@{digest}", image.name()))?;
    let id = pull(bench, &by_digest).await?;
    ensure_eq!(bench.runtime.image(&by_digest).await?, Some(id.clone()), "image by digest");
    ensure_eq!(pull(bench, &image).await?, id, "id of the same image by tag");
    Ok(())
}

async fn pull_progress_only_grows(bench: &Bench<'_>) -> Outcome {
    let image = publish(bench, "one").await?;
    let seen = Mutex::new(Vec::new());
    let note = |progress: PullProgress| seen.lock().unwrap_or_else(PoisonError::into_inner).push(progress);
    bench.runtime.pull(&image, Some(&bench.subject.credentials()), &note).await?;
    let seen = seen.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(!seen.is_empty(), "no progress was reported");
    ensure!(seen.is_sorted_by_key(|progress| progress.done_bytes), "the bytes done shrink: {seen:?}");
    let is_sound = |progress: &PullProgress| progress.total_bytes == 0 || progress.done_bytes <= progress.total_bytes;
    ensure!(seen.iter().all(is_sound), "more is done than there is: {seen:?}");
    Ok(())
}

async fn pull_after_the_tag_moved_changes_the_id(bench: &Bench<'_>) -> Outcome {
    let image = publish(bench, "one").await?;
    let first = pull(bench, &image).await?;
    publish(bench, "two").await?;
    ensure_eq!(bench.runtime.image(&image).await?, Some(first.clone()), "local image before the second pull");
    let second = pull(bench, &image).await?;
    ensure!(first != second, "the id is {first} before and after");
    ensure_eq!(bench.runtime.image(&image).await?, Some(second), "local image after the second pull");
    Ok(())
}

async fn a_failed_pull_keeps_the_present_image(bench: &Bench<'_>) -> Outcome {
    let image = publish(bench, "one").await?;
    let first = pull(bench, &image).await?;
    publish(bench, "two").await?;
    fails_with(bench.runtime.pull(&image, None, &|_| ()).await, ErrorKind::Unauthorized, "pull")?;
    ensure_eq!(bench.runtime.image(&image).await?, Some(first), "local image");
    Ok(())
}

async fn pull_from_a_silent_registry_times_out(bench: &Bench<'_>) -> Outcome {
    let image = bench.subject.stalled_image().await?;
    let limits = Limits { pull_silence: Duration::from_secs(3), ..Limits::default() };
    let runtime = bench.subject.connect(limits).await?;
    let begin = Instant::now();
    fails_with(runtime.pull(&image, None, &|_| ()).await, ErrorKind::TimedOut, "pull")?;
    ensure!(begin.elapsed() < Duration::from_secs(40), "3 s of silence took {:?}", begin.elapsed());
    Ok(())
}

async fn pull_from_a_throttling_registry_is_throttled(bench: &Bench<'_>) -> Outcome {
    let image = bench.subject.throttled_image().await?;
    fails_with(bench.runtime.pull(&image, None, &|_| ()).await, ErrorKind::Throttled, "pull")
}

async fn an_absent_image_is_none(bench: &Bench<'_>) -> Outcome {
    let absent = parsed("localhost/conformance-no-such-image:1")?;
    ensure_eq!(bench.runtime.image(&absent).await?, None, "image");
    Ok(())
}

async fn a_local_image_has_an_architecture(bench: &Bench<'_>) -> Outcome {
    let image = publish(bench, "one").await?;
    ensure_eq!(bench.runtime.image_architecture(&image).await?, None, "architecture of an image that is not here");
    pull(bench, &image).await?;
    let expected = EngineHost::architecture_of(std::env::consts::ARCH).to_owned();
    ensure_eq!(bench.runtime.image_architecture(&image).await?, Some(expected), "architecture of this machine's image");
    Ok(())
}

async fn remove_image_removes_it_with_its_tags(bench: &Bench<'_>) -> Outcome {
    let image = publish(bench, "one").await?;
    let other = bench.subject.publish_image(&bench.name("img"), "2", &bench.name("one")).await?;
    let id = pull(bench, &image).await?;
    ensure_eq!(pull(bench, &other).await?, id, "id of the other tag");
    bench.runtime.remove_image(&id).await?;
    ensure_eq!(bench.runtime.image(&image).await?, None, "first tag");
    ensure_eq!(bench.runtime.image(&other).await?, None, "second tag");
    Ok(())
}

async fn remove_image_of_an_image_in_use_conflicts(bench: &Bench<'_>) -> Outcome {
    let image = publish(bench, "one").await?;
    let id = pull(bench, &image).await?;
    let mut spec = bench.spec("web", Program::Idle);
    spec.image = image.clone();
    let container = bench.runtime.create(&spec).await?;
    fails_with(bench.runtime.remove_image(&id).await, ErrorKind::Conflict, "remove of an image in use")?;
    ensure_eq!(bench.runtime.image(&image).await?, Some(id.clone()), "image in use");
    ensure!(bench.subject.inspect(&spec.name).await?.is_some(), "the container is gone");
    bench.runtime.remove(&container).await?;
    bench.runtime.remove_image(&id).await?;
    ensure_eq!(bench.runtime.image(&image).await?, None, "image no longer in use");
    Ok(())
}

async fn remove_image_of_an_absent_image_is_ok(bench: &Bench<'_>) -> Outcome {
    let absent = ImageId(format!("sha256:{}", "0123456789abcdef".repeat(4)));
    bench.runtime.remove_image(&absent).await?;
    let image = publish(bench, "one").await?;
    let id = pull(bench, &image).await?;
    bench.subject.act(Act::RemoveImage(&image)).await?;
    bench.runtime.remove_image(&id).await?;
    Ok(())
}

async fn a_pulled_image_runs(bench: &Bench<'_>) -> Outcome {
    let mut spec = bench.spec("web", Program::Idle);
    spec.image = publish(bench, "one").await?;
    pull(bench, &spec.image).await?;
    bench.subject.prepare(&spec.name, Program::Idle).await?;
    let id = bench.runtime.create(&spec).await?;
    bench.runtime.start(&id).await?;
    ensure!(bench.seen("web").await?.is_running, "it does not run");
    Ok(())
}

fn parsed(text: &str) -> Outcome<ImageReference> {
    text.parse().map_err(|error| Failure::new(format!("{error}")))
}
