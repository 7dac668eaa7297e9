async def test_probe(world, reader, app):
    ada = await world.person()
    m = await world.monitor(ada)
    await world.project()
    import json

    for p in [
        "/monitors?state=x",
        "/monitors?limit=0",
        "/monitors?limit=a",
        "/monitors?status=zz",
        "/monitors?sort=x:up",
        "/monitors?foo=1",
        f"/monitors/{m}/facts/price?from=2020-01-01T00:00:00",
        f"/monitors/{m}/facts/price?bucket=x",
        f"/monitors/{m}/history?cursor=zz",
        "/monitors?q=%00",
        "/monitors/%00",
        f"/monitors/{m}/facts/%00",
        "/monitors?offset=-1",
        "/monitors?monitor_id=1",
        "/triggers?monitor_id=1",
        "/monitors/xyz",
        "/monitors?limit=1&limit=2",
    ]:
        r = await reader(ada).answer(p)
        print(r.status_code, p, r.json().get("error", {}).get("details"))
    print(json.dumps(await reader(ada).get("/monitors"), indent=1))
    s = app.openapi_schema.to_schema()
    print(json.dumps(s["paths"]["/api/v1/monitors/{monitor_id}/facts/{name}"], indent=1))
    print(json.dumps(s["components"]["schemas"]["ChangeShape"], indent=1), list(s["components"]["schemas"]))
    assert 0
