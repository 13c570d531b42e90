//! `/v1/models`.

use crate::support::{House, Setup, error_of, target};

async fn house() -> House {
    let house = House::start(Setup::default()).await;
    house.publish(Some(target("127.0.0.1:1".parse().unwrap())));
    house
}

async fn get(house: &House, path: &str) -> reqwest::Response {
    house.client.get(house.url(path)).send().await.unwrap()
}

async fn ids(house: &House, path: &str) -> Vec<String> {
    let list: api::ModelList = get(house, path).await.json().await.unwrap();
    assert_eq!(list.object, "list");
    list.data.into_iter().map(|model| model.id).collect()
}

#[tokio::test]
async fn lists_all_or_the_loaded() {
    let house = house().await;
    assert_eq!(ids(&house, "/v1/models").await, ["org/model", "other"]);
    assert_eq!(ids(&house, "/v1/models/").await, ["org/model", "other"]);
    assert_eq!(ids(&house, "/v1/models?state=loaded").await, ["org/model"]);
    let empty = House::start(Setup::default()).await;
    assert!(ids(&empty, "/v1/models").await.is_empty());
}

#[tokio::test]
async fn names_what_a_query_may_say() {
    let house = house().await;
    for (query, named) in [("state=busy", "state=loaded"), ("state=", "state=loaded"), ("page=2", "`state`")] {
        let (status, error) = error_of(get(&house, &format!("/v1/models?{query}")).await).await;
        assert_eq!((status, error["code"].as_str()), (400, Some("invalid_query")), "{query}");
        assert!(error["message"].as_str().unwrap().contains(named), "{error}");
    }
}

#[tokio::test]
async fn finds_one_by_any_of_its_names() {
    let house = house().await;
    for name in ["org/model", "org%2Fmodel", "org/model:Q4_0", "org%2Fmodel%3AQ4_0", "org/model/", "org%2fmodel/"] {
        let response = get(&house, &format!("/v1/models/{name}")).await;
        assert_eq!(response.status(), 200, "{name}");
        assert!(response.headers().contains_key("x-request-id"));
        let model: api::Model = response.json().await.unwrap();
        assert_eq!((model.id.as_str(), model.object.as_str()), ("org/model", "model"), "{name}");
    }
    for name in ["org", "org/model/x", "nope", "%ff"] {
        let (status, error) = error_of(get(&house, &format!("/v1/models/{name}")).await).await;
        let expected = if name == "%ff" { (400, Some("invalid_path")) } else { (404, Some("model_not_found")) };
        assert_eq!((status, error["code"].as_str()), expected, "{name}");
    }
}
